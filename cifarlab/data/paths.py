"""Find folders and archives, and decode them by what they hold."""

import difflib
import os
import re
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from pathlib import Path

from cifarlab.data.archives import Member, damage_errors, iter_members
from cifarlab.data.cache import cache_root
from cifarlab.data.cifar import (
    DATASETS,
    OfficialDataset,
    decode_cifar,
    recognize_folder,
    recognize_path,
    refuse_label_mode,
)
from cifarlab.data.dataset import DecodeRequest, DecodeResult, Progress
from cifarlab.data.download import download_archive
from cifarlab.data.folders import decode_folder
from cifarlab.system.errors import DataError
from cifarlab.system.files import exists, is_folder, to_utf8

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")
# Names of known data sets: a user's folder or archive of such a name is called by its path.
_RESERVED_NAMES = re.compile(r"cifar-?10|digits$", re.IGNORECASE)


def data_folder() -> Path | None:
    """Return the folder that $CIFARLAB_DATA names, None where it is not set or there."""
    value = os.environ.get("CIFARLAB_DATA")
    folder = Path(value).expanduser() if value else None
    return folder if folder and is_folder(folder) else None


def find_official_archive(name: str, progress: Progress | None) -> Path | None:
    """Return the path of an official archive: the user's file or folder, or the downloaded one.

    Without ``progress`` nothing is downloaded, and None is returned where it is missing.
    """
    dataset, folder, downloads = DATASETS[name], data_folder(), cache_root() / "downloads"
    user_paths = [folder / dataset.archive, folder / dataset.folder] if folder else []
    for path in [*user_paths, downloads / dataset.archive]:
        if path.exists():
            return path
    return download_archive(dataset, downloads, progress) if progress else None


def find_path(source: str, names: Collection[str]) -> Path:
    """Return the path of a folder or archive, which is looked up here, then in $CIFARLAB_DATA.

    Args:
        source: the path
        names: the names of the other sources, for the hint

    Raises:
        DataError: there is no such file; the hint has the nearest name
    """
    path, folder = Path(source).expanduser(), data_folder()
    for candidate in (path, folder / path if folder else path):
        if exists(candidate):
            return candidate
    parent = path.parent if path.parent != Path() else None
    candidates = {*names, *list_sources(folder), *list_sources(parent, str(path.parent))}
    matches = difflib.get_close_matches(source, sorted(candidates), n=1, cutoff=0.5)
    hint = f"did you mean {matches[0]}? " if matches else ""
    raise DataError(
        f"there is no data source {source!r}",
        f"{hint}known are {', '.join(names)}, folders and archives; relative paths are looked up "
        f"here and in {folder or 'the folder that CIFARLAB_DATA names'}",
    )


def list_sources(folder: Path | None, prefix: str = "") -> Iterator[str]:
    """Yield the names of a folder's archives and folders, each after ``prefix``."""
    if folder and is_folder(folder):
        for entry in folder.iterdir():
            if entry.is_dir() or entry.name.endswith(ARCHIVE_SUFFIXES):
                yield os.path.join(prefix, entry.name)  # noqa: PTH118  ("" must stay "")


def stamps(path: Path) -> list[tuple[str, int, int]]:
    """Return relative path, size and time of change of each file, for the key of the cache."""
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


def decode_path(path: Path, request: DecodeRequest) -> DecodeResult:
    """Decode a folder or archive: an official one by its files' names, others as class folders."""
    dataset, members = _recognize(path)
    if dataset:
        return decode_cifar(dataset, path, members, request)
    refuse_label_mode(request.label_mode, str(path))
    return decode_folder(_display_name(path), path, members, request)


def _recognize(path: Path) -> tuple[OfficialDataset | None, Iterable[Member]]:
    """Return the official data set of the first file, if any, and all members.

    An archive is read only once, so those that were read to find out are put in front again.
    """
    members = iter_members(path)
    if path.is_dir() and (dataset := recognize_folder(path)):
        return dataset, members
    skipped: list[Member] = []
    for member in members:
        if not (member.is_folder or Path(member.path).name.startswith(".")):
            return recognize_path(member.path), chain(skipped, [member], members)
        skipped.append(member)
    return None, skipped


def _display_name(path: Path) -> str:
    """Return the file's or folder's name; its path where that is the name of a known data set."""
    name = path.resolve().name
    if not path.is_dir():
        suffix = max((s for s in ARCHIVE_SUFFIXES if path.name.endswith(s)), key=len, default="")
        name = path.name.removesuffix(suffix) or path.name
    return to_utf8(str(path.resolve()) if not name or _RESERVED_NAMES.match(name) else name)
