"""Folders and archives of class folders with image files."""

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePosixPath

import numpy as np

from cifarlab.data.archives import Member
from cifarlab.data.dataset import SPLITS, Decoded, Progress, images_file, labels_file, write_names
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.images import BrokenError, Pixels, RefusedError, SizeError, decode
from cifarlab.data.layout import infer_layout
from cifarlab.data.problems import Problems
from cifarlab.data.spool import Spool
from cifarlab.system.errors import DataError

IMAGE = re.compile(r"\.(jpe?g?|jfif|png|bmp|gif|webp|tiff?|p[pgbn]m)$", re.IGNORECASE)
_METADATA = re.compile(
    r"\.(txt|csv|tsv|jsonl?|md|rst|ya?ml|toml|xml|html?|pdf)$"
    r"|^(readme|licen[sc]e|notice|citation)$",
    re.IGNORECASE,
)
_CLUTTER = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_MAX_IMAGE_BYTES = 2**26
_BATCH_IMAGES, _BATCH_BYTES = 256, 2**23  # large enough to make a thread's hand-over cheap
# Pillow holds the interpreter's lock half of the time: more threads than this gain nothing.
_WORKERS = max(1, min(4, (os.cpu_count() or 1) - 1))

_Batch = list[tuple[str, bytes]]
_Result = tuple[str, Pixels | RefusedError]


def decode_folder(
    name: str,
    source: Path,
    members: Iterable[Member],
    policy: ImagePolicy,
    build: Path,
    progress: Progress,
) -> Decoded:
    """Decode all images of ``members`` and write the splits into ``build``.

    The order of the members changes nothing in the result. Raises DataError naming the file that
    the policy or the layout refuses, OSError if ``build`` can't be written.
    """
    with closing(Spool(build / "spool.bin")) as spool:
        folders: set[str] = set()
        skipped = _fill_spool(
            spool, _image_files(source, members, folders), source, policy, progress
        )
        folders.update(PurePosixPath(path).parent.as_posix() for path in skipped)
        try:
            layout = infer_layout(spool.names, folders)
        except DataError as error:
            raise DataError(f"{source}: {error.what}", error.hint) from error
        for split, order in layout.order.items():
            spool.write(order, images_file(build, split))
            np.save(labels_file(build, split), layout.labels[split])
            write_names(build, split, [spool.names[index] for index in order])
    splits = tuple(split for split in SPLITS if split in layout.order)
    return Decoded(name, layout.classes, splits, tuple(sorted(skipped)))


def _image_files(
    source: Path, members: Iterable[Member], folders: set[str]
) -> Iterator[tuple[str, bytes]]:
    """Give path and content of each image file; collect folders. Raises DataError."""
    for member in members:
        path = PurePosixPath(member.path)
        if any(part.startswith(".") or part.lower() in _CLUTTER for part in path.parts):
            continue
        if member.is_folder:
            folders.add(member.path)
        elif IMAGE.search(path.name):
            if member.size > _MAX_IMAGE_BYTES:
                raise DataError(
                    f"{source}: {path} has {member.size:,} bytes, more than {_MAX_IMAGE_BYTES:,}",
                    "a small image has no such size: remove the file",
                )
            yield member.path, member.read()
        elif not _METADATA.search(path.name):
            raise DataError(
                f"{source}: {path} is neither an image nor a text file",
                "remove it; images end in .jpg, .png, .bmp, .gif, .webp, .tif, .ppm or a variant",
            )


def _fill_spool(
    spool: Spool,
    files: Iterator[tuple[str, bytes]],
    source: Path,
    policy: ImagePolicy,
    progress: Progress,
) -> list[str]:
    """Decode all into the spool and give the broken files' paths. Raises DataError."""
    skipped: list[str] = []
    problems = Problems(policy)
    for done, (name, result) in enumerate(_decode_parallel(files, policy), 1):
        if isinstance(result, Pixels):
            problems.count_decoded(name, result)
            if not problems.any_problem:
                spool.add(name, result)
        elif isinstance(result, SizeError):
            problems.count_size(name, result.size, wrong=True)
        elif not isinstance(result, BrokenError):
            raise DataError(f"{source}: {name} {result.what}", result.hint) from result
        elif policy.on_bad_images == "skip":
            skipped.append(name)
        else:
            problems.count_broken(name, result)
        if problems.should_stop:
            break
        if done % _BATCH_IMAGES == 0:
            progress("decoding images", done, None)
    problems.raise_error(source)
    progress("decoding images", len(spool.names), len(spool.names))
    return skipped


def _decode_parallel(files: Iterator[tuple[str, bytes]], policy: ImagePolicy) -> Iterator[_Result]:
    """Decode in threads, in order, while the next files are read; memory stays bounded."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        pending: deque[Future[list[_Result]]] = deque()
        for batch in _batches(files):
            pending.append(pool.submit(_decode_batch, batch, policy))
            if len(pending) > 2 * _WORKERS:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()


def _batches(files: Iterator[tuple[str, bytes]]) -> Iterator[_Batch]:
    batch: _Batch = []
    size = 0
    for name, blob in files:
        batch.append((name, blob))
        size += len(blob)
        if len(batch) >= _BATCH_IMAGES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decode_batch(batch: _Batch, policy: ImagePolicy) -> list[_Result]:
    return [(name, _decode_or_refusal(blob, policy)) for name, blob in batch]


def _decode_or_refusal(blob: bytes, policy: ImagePolicy) -> Pixels | RefusedError:
    try:
        return decode(blob, policy)
    except RefusedError as refused:
        return refused
