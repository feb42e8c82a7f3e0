"""Folders, tar and zip archives as one stream of members; nothing is ever extracted to disk.

An archive is read once, front to back (seeking in an xz file means decompressing it again), and
is taken for hostile: whatever is no plain file or folder inside the archive is refused by name.
"""

import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from cifarlab.data.members import (
    UNSAFE_HINT,
    Member,
    damage_errors,
    guard_read,
    safe_path,
    starts_with,
)
from cifarlab.data.tars import iter_tar_members
from cifarlab.system.errors import DataError
from cifarlab.system.files import require_plain, storable

MAX_MEMBER_BYTES = 2**28  # CIFAR-100's training pickle, the largest honest one, has 155 MB
MAX_MEMBERS = 10_000_000


def iter_members(source: Path) -> Iterator[Member]:
    """Go through a folder or archive once: a folder in sorted order, an archive in its own.

    Raises DataError for what is damaged, unsafe or no archive, naming the member.
    """
    with damage_errors(source):
        require_plain(source)
    if source.is_dir():
        stream = _folder_members(source)
    elif starts_with(source, b"PK"):
        stream = _zip_members(source)
    else:
        stream = iter_tar_members(source)
    for count, member in enumerate(stream):
        if storable(member.path) != member.path:
            what = f"{source}: the name {storable(member.path)!r} is not UTF-8"
            raise DataError(what, "rename that file or folder")
        if count >= MAX_MEMBERS:
            raise DataError(f"{source} has more than {MAX_MEMBERS:,} members", UNSAFE_HINT)
        if member.size > MAX_MEMBER_BYTES or member.size < 0:
            raise DataError(
                f"{source}: {member.path} has {member.size:,} bytes, more than the "
                f"{MAX_MEMBER_BYTES:,} allowed",
                "a data set of small images has no such file: remove it",
            )
        yield member


def _zip_members(source: Path) -> Iterator[Member]:
    with damage_errors(source), zipfile.ZipFile(source) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            yield _zip_member(source, archive, info)


def _zip_member(source: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    path = safe_path(source, info.filename.replace("\\", "/"))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{source}: {info.filename!r} is a link or a device", UNSAFE_HINT)
    if info.flag_bits & 0x1:
        raise DataError(
            f"{source}: {info.filename!r} is encrypted", "unpack it and give the folder instead"
        )
    folder = info.filename.endswith("/")  # ZipFile's own test fails for an empty name
    return Member(path, folder, info.file_size, guard_read(source, lambda: archive.read(info)))


def _folder_members(source: Path) -> Iterator[Member]:
    root = source.resolve()
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders.sort()
        here = Path(folder)
        for name in folders:
            if (here / name).is_symlink():
                raise DataError(
                    f"{here / name} is a link to a folder", "put the images there themselves"
                )
            yield Member((here / name).relative_to(root).as_posix(), True, 0, bytes)
        for name in sorted(files):
            yield _file_member(root, here / name)


def _raise(error: OSError) -> None:
    raise DataError(f"{error.filename} can't be read: {error.strerror}", "check its permissions")


def _file_member(root: Path, file: Path) -> Member:
    with damage_errors(file):
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            raise DataError(
                f"{file} is a link that leads out of {root}", "copy the file there instead"
            )
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{file} is no plain file", "remove it from the folder")
    path = file.relative_to(root).as_posix()
    return Member(path, False, status.st_size, guard_read(file, file.read_bytes))
