"""Folders and archives: where they lie, and what they hold."""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from cifarlab.data.archives import Member, damage_errors, iter_members
from cifarlab.data.cache import cache_root
from cifarlab.data.cifar import (
    KINDS,
    Kind,
    decode_cifar,
    recognize,
    recognize_folder,
    refuse_label_mode,
)
from cifarlab.data.dataset import Decoded, Decoding, Progress
from cifarlab.data.download import fetch
from cifarlab.data.folders import decode_folder
from cifarlab.system.errors import DataError
from cifarlab.system.files import exists, is_folder, sha256, to_utf8

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
# CIFAR-10 as JPEG files, an archive that deserves a name of its own
_JPEGS_SIZE = 18_577_208
_JPEGS_SHA256 = "5a5a73846cf9e82ea12dee7f05c7eb6da31d381054d4870a91a23801bc0e1ad1"
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
    kind, folder, downloads = KINDS[name], data_folder(), cache_root() / "downloads"
    user_paths = [folder / kind.archive, folder / kind.folder] if folder else []
    for path in [*user_paths, downloads / kind.archive]:
        if path.exists():
            return path
    return fetch(kind, downloads, progress) if progress else None


def find_path(source: str, names: Collection[str]) -> Path:
    """Find a folder or archive as given or under $CIFARLAB_DATA.

    ``names`` are of sources that are no paths. Raises DataError with the nearest of all.
    """
    path, folder = Path(source).expanduser(), data_folder()
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
    with damage_errors(path):
        if path.is_dir():
            return sorted(_stamps_below(path, ""))
        status = path.stat()
        return [("", status.st_size, status.st_mtime_ns)]


def _stamps_below(folder: Path, prefix: str) -> Iterator[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            yield prefix + entry.name, status.st_size, status.st_mtime_ns
            if entry.is_dir(follow_symlinks=False):
                yield from _stamps_below(Path(entry.path), f"{prefix}{entry.name}/")


def decode_path(path: Path, decoding: Decoding) -> Decoded:
    """Decode by content: an official archive, or else class folders."""
    kind, members = _recognize(path)
    if kind:
        return decode_cifar(kind, path, members, decoding)
    refuse_label_mode(decoding.label_mode, str(path))
    return decode_folder(_display_name(path), path, members, decoding)


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
    name = path.resolve().name
    if not path.is_dir():
        if path.stat().st_size == _JPEGS_SIZE and sha256(path) == _JPEGS_SHA256:
            return "CIFAR-10 (JPEG)"
        suffix = max((s for s in ARCHIVE_SUFFIXES if path.name.endswith(s)), key=len, default="")
        name = path.name.removesuffix(suffix) or path.name
    return to_utf8(str(path.resolve()) if not name or _TAKEN.match(name) else name)
