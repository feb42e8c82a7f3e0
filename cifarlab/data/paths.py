"""Folders and archives: where they lie, and what they hold."""

import difflib
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from cifarlab.data.archives import Member, iter_members
from cifarlab.data.cache import HINT, cache_root
from cifarlab.data.cifar import (
    KINDS,
    Kind,
    decode_cifar,
    recognize,
    recognize_folder,
    refuse_label_mode,
)
from cifarlab.data.dataset import Decoded, Progress
from cifarlab.data.download import fetch
from cifarlab.data.folders import decode_folder
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.system.errors import DataError, StorageError
from cifarlab.system.files import exists, is_folder, storable

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


def data_folder() -> Path | None:
    """Give the folder that $CIFARLAB_DATA names, if it is set and there."""
    named = os.environ.get("CIFARLAB_DATA")
    folder = Path(named).expanduser() if named else None
    return folder if folder and is_folder(folder) else None


def find_official_archive(name: str, progress: Progress | None) -> Path | None:
    """Find an official archive: the user's own file or folder, else the downloaded one.

    Without ``progress`` nothing is downloaded: None where it is not there.
    """
    kind = KINDS[name]
    for path in _candidate_paths(kind):
        if path.exists():
            return path
    if progress is None:
        return None
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


def find_path(source: str, names: list[str]) -> Path:
    """Find a folder or archive as given or under $CIFARLAB_DATA.

    ``names`` are of sources that are no paths. Raises DataError with the nearest of all.
    """
    path = Path(source).expanduser()
    folder = data_folder()
    for candidate in (path, folder / path if folder else path):
        if exists(candidate):
            return candidate
    parent = path.parent if path.parent != Path() else None
    candidates = {*names, *list_sources(folder), *list_sources(parent, str(path.parent))}
    near = difflib.get_close_matches(source, sorted(candidates), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise DataError(
        f"there is no data source {source!r}",
        f"{hint}known are {', '.join(names)}, folders and archives; relative paths are looked up "
        f"here and in {folder or 'the folder that CIFARLAB_DATA names'}",
    )


def list_sources(folder: Path | None, prefix: str = "") -> Iterator[str]:
    """Yield a folder's sources: its archives and folders, by name after ``prefix``."""
    if folder and is_folder(folder):
        for entry in folder.iterdir():
            if entry.is_dir() or entry.name.endswith(ARCHIVE_SUFFIXES):
                yield os.path.join(prefix, entry.name)  # noqa: PTH118  ("" must stay "")


def stamps(path: Path) -> list[tuple[str, int, int]]:
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


def decode_path(
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
