"""From what a recipe calls its source to a decoded data set."""

import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from cifarlab.data.archives import iter_members
from cifarlab.data.cache import HINT, cache_root, load_cached, open_cached
from cifarlab.data.cifar import (
    KINDS,
    Kind,
    decode_cifar,
    recognize,
    recognize_folder,
    refuse_label_mode,
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
    label_mode: str = "fine",
    images: ImagePolicy = _DEFAULT_POLICY,
    progress: Progress | None = None,
) -> Dataset:
    """Open ``cifar10``, ``cifar100``, ``digits``, a folder or an archive.

    ``label_mode`` (``fine``, ``coarse``) matters to CIFAR-100 only; ``progress`` gets what is being
    done, how much of it is done and, where known, how much there is. The first opening decodes
    into the cache, the later ones map it. The test split may be missing. Raises DataError for
    a source that is unknown, broken or unsafe, DownloadError, StorageError.
    """
    report = progress or _no_progress
    if source == "digits":
        refuse_label_mode(label_mode, source)
        decode = partial(decode_digits, images)
        return open_cached(source, *_identity(None, label_mode, images), decode)
    path = _find_official_archive(KINDS[source], report) if source in KINDS else _find_path(source)
    return open_cached(
        source,
        *_identity(path, label_mode, images),
        lambda build: _decode_path(path, label_mode, images, build, report),
    )


def cached_dataset(
    source: str, *, label_mode: str = "fine", images: ImagePolicy = _DEFAULT_POLICY
) -> Dataset | None:
    """The same as ``open_dataset`` where that would only map the cache, else None.

    Nothing is downloaded, decoded, written or locked. Raises DataError for an unknown source.
    """
    path = None
    if source in KINDS:
        kind = KINDS[source]
        path = next((p for p in _candidate_paths(kind) if p.exists()), None)
        if path is None:
            return None
    elif source != "digits":
        path = _find_path(source)
    return load_cached(source, *_identity(path, label_mode, images))


def _identity(path: Path | None, label_mode: str, images: ImagePolicy) -> tuple[str, list[object]]:
    """Return a cache entry's stem, and what it depends on; the embedded digits have no path."""
    if path is None:
        return "digits", ["digits", images.model_dump()]
    identity: list[object] = [str(path.resolve()), _stamps(path), label_mode, images.model_dump()]
    return path.name or "root", identity


def _no_progress(_what: str, _done: int, _total: int | None) -> None:
    pass


def data_folder() -> Path | None:
    """Give the folder that $CIFARLAB_DATA names, if it is set and there."""
    named = os.environ.get("CIFARLAB_DATA")
    folder = Path(named).expanduser() if named else None
    return folder if folder and is_folder(folder) else None


def _find_official_archive(kind: Kind, progress: Progress) -> Path:
    """Find an official archive: the user's own file or folder, else the downloaded one."""
    for path in _candidate_paths(kind):
        if path.exists():
            return path
    try:
        return fetch(kind, _downloads(), progress)
    except StorageError as error:
        raise StorageError(error.what, HINT) from error


def _candidate_paths(kind: Kind) -> list[Path]:
    """Return where an official archive may lie already, best first."""
    folder = data_folder()
    user_paths = [folder / kind.archive, folder / kind.folder] if folder else []
    return [*user_paths, _downloads() / kind.archive]


def _downloads() -> Path:
    return cache_root() / "downloads"


def _find_path(source: str) -> Path:
    """Find a folder or archive as given or under $CIFARLAB_DATA. Raises DataError."""
    path = Path(source).expanduser()
    folder = data_folder()
    for candidate in (path, folder / path if folder else path):
        if exists(candidate):
            return candidate
    beside = path.parent if path.parent != Path() else None
    candidates = {*NAMES, *list_sources(folder), *list_sources(beside, str(path.parent))}
    near = difflib.get_close_matches(source, sorted(candidates), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise DataError(
        f"there is no data source {source!r}",
        f"{hint}known are {', '.join(NAMES)}, folders and archives; relative paths are looked up "
        f"here and in {folder or 'the folder that CIFARLAB_DATA names'}",
    )


def list_sources(folder: Path | None, prefix: str = "") -> Iterator[str]:
    """Yield a folder's sources: its archives and folders, by name after ``prefix``."""
    if folder and is_folder(folder):
        for entry in folder.iterdir():
            if entry.is_dir() or entry.name.endswith(ARCHIVE_SUFFIXES):
                yield os.path.join(prefix, entry.name)  # noqa: PTH118  ("" must stay "")


def _stamps(path: Path) -> list[tuple[str, int, int]]:
    """Return relative path, size and time of change of each file, for the cache's key."""
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
    path: Path, label_mode: str, policy: ImagePolicy, build: Path, progress: Progress
) -> Decoded:
    """Decode by content: an official archive, or else class folders."""
    kind, members = _recognize(path)
    if kind:
        return decode_cifar(kind, path, members, label_mode, policy, build)
    refuse_label_mode(label_mode, str(path))
    return decode_folder(_display_name(path), path, members, policy, build, progress)


def _recognize(path: Path) -> tuple[Kind | None, Iterable[Member]]:
    """Look at the first file, without losing it: an archive is read only once."""
    members = iter_members(path)
    if path.is_dir() and (kind := recognize_folder(path)):
        return kind, members
    passed: list[Member] = []
    for member in members:
        if not (member.is_folder or Path(member.path).name.startswith(".")):
            return recognize(member.path), chain(passed, [member], members)
        passed.append(member)
    return None, passed


def _display_name(path: Path) -> str:
    """Give the known name of a known archive, else the file's or folder's own.

    The whole path where its own is that of a known data set.
    """
    if path.is_dir():
        return _unreserved_name(path, storable(path.resolve().name))
    size = path.stat().st_size
    if any(size == known for known, _ in _KNOWN):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if (size, digest) in _KNOWN:
            return _KNOWN[size, digest]
    suffix = max((s for s in ARCHIVE_SUFFIXES if path.name.endswith(s)), key=len, default="")
    return _unreserved_name(path, storable(path.name.removesuffix(suffix) or path.name))


def _unreserved_name(path: Path, name: str) -> str:
    return storable(str(path.resolve())) if not name or _TAKEN.match(name) else name
