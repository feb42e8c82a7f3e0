"""From what a recipe calls its source to a decoded data set."""

import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from cifarlab.data.archives import members
from cifarlab.data.cache import HINT, cache_root, cached, opened
from cifarlab.data.cifar import (
    KINDS,
    Kind,
    decode_cifar,
    recognise,
    recognise_folder,
    refuse_labels,
)
from cifarlab.data.config import ImagePolicy
from cifarlab.data.dataset import Dataset, Decoded, Progress
from cifarlab.data.digits import decode_digits
from cifarlab.data.download import fetch
from cifarlab.data.folders import decode_folder
from cifarlab.data.members import Member
from cifarlab.system.errors import DataError, StorageError
from cifarlab.system.files import exists, is_folder, storable

NAMES = (*KINDS, "digits")
ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
# Archives that deserve a name of their own, by size (to hash no other) and sha256.
_KNOWN = {
    (
        18_577_208,
        "5a5a73846cf9e82ea12dee7f05c7eb6da31d381054d4870a91a23801bc0e1ad1",
    ): "CIFAR-10 (JPEG)",
}
# Names of known data sets: a folder or archive of such a name goes by its path instead.
_TAKEN = re.compile(r"cifar-?10|digits$", re.IGNORECASE)
_DEFAULT_POLICY = ImagePolicy()


def open_dataset(
    source: str,
    *,
    labels: str = "fine",
    images: ImagePolicy = _DEFAULT_POLICY,
    progress: Progress | None = None,
) -> Dataset:
    """Open ``cifar10``, ``cifar100``, ``digits``, a folder or an archive.

    ``labels`` (``fine``, ``coarse``) matters to CIFAR-100 only; ``progress`` gets what is being
    done, how much of it is done and, where known, how much there is. The first opening decodes
    into the cache, the later ones map it. The test split may be missing. Raises DataError for
    a source that is unknown, broken or unsafe, DownloadError, StorageError.
    """
    report = progress or _silent
    if source == "digits":
        refuse_labels(labels, source)
        decode = partial(decode_digits, images)
        return opened(source, *_identity(None, labels, images), decode)
    path = _named(KINDS[source], report) if source in KINDS else _found(source)
    return opened(
        source,
        *_identity(path, labels, images),
        lambda build: _decode_path(path, labels, images, build, report),
    )


def cached_dataset(
    source: str, *, labels: str = "fine", images: ImagePolicy = _DEFAULT_POLICY
) -> Dataset | None:
    """The same as ``open_dataset`` where that would only map the cache, else None.

    Nothing is downloaded, decoded, written or locked. Raises DataError for an unknown source.
    """
    path = None
    if source in KINDS:
        kind = KINDS[source]
        path = next((p for p in _own(kind) if p.exists()), None)
        if path is None:
            return None
    elif source != "digits":
        path = _found(source)
    return cached(source, *_identity(path, labels, images))


def _identity(path: Path | None, labels: str, images: ImagePolicy) -> tuple[str, list[object]]:
    """A cache entry's stem, and what it depends on; the embedded digits have no path."""
    if path is None:
        return "digits", ["digits", images.model_dump()]
    identity: list[object] = [str(path.resolve()), _stamps(path), labels, images.model_dump()]
    return path.name or "root", identity


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass


def data_folder() -> Path | None:
    """Give the folder that $CIFARLAB_DATA names, if it is set and there."""
    named = os.environ.get("CIFARLAB_DATA")
    folder = Path(named).expanduser() if named else None
    return folder if folder and is_folder(folder) else None


def _named(kind: Kind, progress: Progress) -> Path:
    """Find an official archive: the user's own file or folder, else the downloaded one."""
    for own in _own(kind):
        if own.exists():
            return own
    try:
        return fetch(kind, _downloads(), progress)
    except StorageError as error:
        raise StorageError(error.what, HINT) from error


def _own(kind: Kind) -> list[Path]:
    """Where an official archive may lie already, best first."""
    folder = data_folder()
    mine = [folder / kind.archive, folder / kind.folder] if folder else []
    return [*mine, _downloads() / kind.archive]


def _downloads() -> Path:
    return cache_root() / "downloads"


def _found(source: str) -> Path:
    """Find a folder or archive as given or under $CIFARLAB_DATA. Raises DataError."""
    path = Path(source).expanduser()
    folder = data_folder()
    for candidate in (path, folder / path if folder else path):
        if exists(candidate):
            return candidate
    beside = path.parent if path.parent != Path() else None
    candidates = {*NAMES, *offers(folder), *offers(beside, str(path.parent))}
    near = difflib.get_close_matches(source, sorted(candidates), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise DataError(
        f"there is no data source {source!r}",
        f"{hint}known are {', '.join(NAMES)}, folders and archives; relative paths are looked up "
        f"here and in {folder or 'the folder that CIFARLAB_DATA names'}",
    )


def offers(folder: Path | None, prefix: str = "") -> Iterator[str]:
    """What a folder offers as sources: its archives and folders, by name after ``prefix``."""
    if folder and is_folder(folder):
        for entry in folder.iterdir():
            if entry.is_dir() or entry.name.endswith(ARCHIVE_SUFFIXES):
                yield os.path.join(prefix, entry.name)  # noqa: PTH118  ("" must stay "")


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """Relative path, size and time of change of each file: what the cache entry depends on."""
    try:
        if not path.is_dir():
            status = path.stat()
            return [("", status.st_size, status.st_mtime_ns)]
        return sorted(_stamps_below(path, ""))
    except OSError as error:
        raise DataError(
            f"{error.filename or path} can't be read: {error.strerror}", "check its permissions"
        ) from error


def _stamps_below(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            yield prefix + entry.name, status.st_size, status.st_mtime_ns
            if entry.is_dir(follow_symlinks=False):
                yield from _stamps_below(Path(entry.path), f"{prefix}{entry.name}/")


def _decode_path(
    path: Path, labels: str, policy: ImagePolicy, build: Path, progress: Progress
) -> Decoded:
    """Decode by content: an official archive, or else class folders."""
    kind, found = _recognised(path)
    if kind:
        return decode_cifar(kind, path, found, labels, policy, build)
    refuse_labels(labels, str(path))
    return decode_folder(_display_name(path), path, found, policy, build, progress)


def _recognised(path: Path) -> tuple[Kind | None, Iterable[Member]]:
    """Look at the first file, without losing it: an archive is read only once."""
    found = members(path)
    if path.is_dir() and (kind := recognise_folder(path)):
        return kind, found
    passed: list[Member] = []
    for member in found:
        if not (member.is_folder or Path(member.path).name.startswith(".")):
            return recognise(member.path), chain(passed, [member], found)
        passed.append(member)
    return None, passed


def _display_name(path: Path) -> str:
    """Give the known name of a known archive, else the file's or folder's own.

    The whole path where its own is that of a known data set.
    """
    if path.is_dir():
        return _own_name(path, storable(path.resolve().name))
    size = path.stat().st_size
    if any(size == known for known, _ in _KNOWN):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if (size, digest) in _KNOWN:
            return _KNOWN[size, digest]
    suffix = max((s for s in ARCHIVE_SUFFIXES if path.name.endswith(s)), key=len, default="")
    return _own_name(path, storable(path.name.removesuffix(suffix) or path.name))


def _own_name(path: Path, name: str) -> str:
    return storable(str(path.resolve())) if not name or _TAKEN.match(name) else name
