"""Folders and archives of class folders with image files."""

import math
import os
import re
from array import array
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from cifarlab.data.archives import Member, require_distinct
from cifarlab.data.dataset import SPLITS, DecodeRequest, DecodeResult, images_file, write_labels
from cifarlab.data.image_policy import MAX_BYTES, SUFFIX, ImagePolicy
from cifarlab.data.layout import infer_layout
from cifarlab.data.problems import describe_problems
from cifarlab.system.errors import DataError
from cifarlab_serve.images import BrokenError, RefusedError, SizeError, decode_bytes

_METADATA = re.compile(
    r"\.(txt|csv|tsv|jsonl?|md|rst|ya?ml|toml|xml|html?|pdf)$"
    r"|^(readme|licen[sc]e|notice|citation)$",
    re.IGNORECASE,
)
_CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_MORE = 5000  # images that are checked after the first problem, so that it is reported soon
_BATCH_IMAGES, _BATCH_BYTES = 256, 2**23  # large enough to make a thread's hand-over cheap
# Pillow holds the interpreter's lock half of the time: more threads than this gain nothing.
_WORKERS = max(1, min(4, (os.cpu_count() or 1) - 1))

_Result = tuple[str, np.ndarray | RefusedError]


def decode_folder(
    name: str, source: Path, members: Iterable[Member], request: DecodeRequest
) -> DecodeResult:
    """Decode all images of ``members`` and write the splits, the same for any order of members.

    Args:
        name: what reports call the source
        source: the folder's or archive's path
        members: its files and folders
        request: the image policy, and the folder that is written to

    Raises:
        DataError: the policy refuses an image, which is named, or the folders are no layout
        OSError: the folder can't be written
    """
    folders: set[str] = set()
    out = request.out
    files = _image_files(source, members, folders)
    with (out / "spool.bin").open("wb", buffering=2**20) as file:
        spool = Spool(file)
        skipped = _fill_spool(spool, files, source, request)
    require_distinct(source, [*spool.names, *skipped])
    folders.update(PurePosixPath(path).parent.as_posix() for path in skipped)
    try:
        classes, splits = infer_layout(spool.names, folders)
    except DataError as error:
        raise DataError(f"{source}: {error.what}", error.hint) from error
    for split, (order, labels) in splits.items():
        spool.write(order, images_file(out, split))
        write_labels(out, split, labels, [spool.names[index] for index in order])
    Path(file.name).unlink()
    return DecodeResult(name, classes, tuple(filter(splits.get, SPLITS)), tuple(sorted(skipped)))


class Spool:
    """A temporary file of decoded images (H, W, C), C 1 or 3, all of one height and width.

    Their splits, and whether all are grey, are known only after the last one.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.names: list[str] = []
        self._size = (0, 0)
        self._channels = array("q")

    def add(self, name: str, image: np.ndarray) -> None:
        """Append an image, of the same size as all others."""
        self._size = (image.shape[0], image.shape[1])
        self._file.write(image.data)
        self._channels.append(image.shape[2])
        self.names.append(name)

    def write(self, order: np.ndarray, target: Path) -> None:
        """Write the images at the indices ``order`` (n,) to a .npy file: uint8 (n, H, W, C).

        Called after the last ``add``. C is 1 if all images of the spool are grey, else 3: of a grey
        one the channel is repeated.
        """
        channels, pixels = np.array(self._channels), math.prod(self._size)
        ends, most = np.cumsum(channels) * pixels, int(channels.max())
        shape = (len(order), *self._size, most)
        data = np.asarray(np.memmap(self._file.name, dtype=np.uint8, mode="r"))
        # Written in sequence: filling a memory map takes twice as long, and a full disk kills it.
        with target.open("wb", buffering=2**20) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for index in order:
                image = data[ends[index] - channels[index] * pixels : ends[index]]
                file.write(image.data if len(image) == most * pixels else image.repeat(most).data)


def _image_files(
    source: Path, members: Iterable[Member], folders: set[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield path and content of each image file; add folders to ``folders``. Raises DataError."""
    for member in members:
        path = PurePosixPath(member.path)
        if any(part.startswith(".") or part.lower() in _CLUTTER for part in path.parts):
            continue
        if member.is_folder:
            folders.add(member.path)
        elif SUFFIX.search(path.name):
            if member.size > MAX_BYTES:
                what = f"{source}: {path} has {member.size:,} bytes, more than {MAX_BYTES:,}"
                raise DataError(what, "a small image has no such size: remove the file")
            yield member.path, member.read()
        elif not _METADATA.search(path.name):
            raise DataError(
                f"{source}: {path} is neither an image nor a text file",
                "remove it; images end in .jpg, .png, .bmp, .gif, .webp, .tif, .ppm or a variant",
            )


def _fill_spool(
    spool: Spool, files: Iterator[tuple[str, bytes]], source: Path, request: DecodeRequest
) -> list[str]:
    """Decode all files into the spool; return the broken ones' paths. Raises DataError."""
    policy = request.policy
    skips, is_wrong, n_more = policy.on_bad_images == "skip", False, 0
    sizes: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
    faults: dict[str, str] = {}
    for count, (name, result) in enumerate(_decode_parallel(files, policy), 1):
        if isinstance(result, np.ndarray):
            sizes[result.shape[1::-1]].append(name)
        elif isinstance(result, SizeError):
            sizes[result.size].append(name)
        elif isinstance(result, BrokenError):
            faults[name] = result.what
        else:
            raise DataError(f"{source}: {name} {result.what}", result.hint) from result
        is_wrong = is_wrong or len(sizes) > 1 or isinstance(result, SizeError)
        if is_wrong or (faults and not skips):
            n_more += 1
            if n_more > _MORE:
                break
        elif isinstance(result, np.ndarray):
            spool.add(name, result)
        if count % _BATCH_IMAGES == 0:
            request.progress("decoding images", count, None)
    if n_more:
        named_sizes = sizes if is_wrong else {}
        raise describe_problems(str(source), policy, named_sizes, {} if skips else faults)
    request.progress("decoding images", len(spool.names), len(spool.names))
    return list(faults)


def _decode_parallel(files: Iterator[tuple[str, bytes]], policy: ImagePolicy) -> Iterator[_Result]:
    """Yield decoded files in order: threads decode a bounded number while the next are read."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        pending: deque[Future[list[_Result]]] = deque()
        for batch in _batches(files):
            pending.append(pool.submit(_decode_batch, batch, policy))
            if len(pending) > 2 * _WORKERS:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _batches(files: Iterator[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    batch: list[tuple[str, bytes]] = []
    size = 0
    for name, blob in files:
        batch.append((name, blob))
        size += len(blob)
        if len(batch) >= _BATCH_IMAGES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    yield batch


def _decode_batch(batch: list[tuple[str, bytes]], policy: ImagePolicy) -> list[_Result]:
    results: list[_Result] = []
    for name, blob in batch:
        try:
            results.append((name, decode_bytes(blob, policy)))
        except RefusedError as refused:
            results.append((name, refused))
    return results
