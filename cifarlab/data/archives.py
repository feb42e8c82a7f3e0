"""Folders, tar and zip archives as one stream of members; nothing is ever extracted to disk.

An archive is read once, front to back (seeking in an xz file means decompressing it again), and
is taken for hostile: whatever is no plain file or folder inside the archive is refused by name.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarlab.errors import DataError

MAX_MEMBER_BYTES = 2**28  # CIFAR-100's training pickle, the largest honest one, has 155 MB
MAX_MEMBERS = 10_000_000
MAX_HEADER_BYTES = 2**20  # tarfile reads a long-name or pax header into memory whole
_BUFFER = 2**20  # few hand-overs between decompressing here and decoding in threads
_PACKED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,  # zipfile: an unknown compression method
    RecursionError,  # tarfile: thousands of chained extension headers
)
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_UNSAFE_HINT = "an honest archive of images has none of these: don't use this file"


@dataclass(frozen=True)
class Member:
    """A file or folder: ``path`` is relative, with slashes, without ``.`` and ``..``.

    ``read`` gives a file's content and must be called before the next member is asked for.
    """

    path: str
    is_folder: bool
    size: int
    read: Callable[[], bytes]


def members(source: Path) -> Iterator[Member]:
    """Go through a folder or archive once: a folder in sorted order, an archive in its own.

    Raises DataError for what is damaged, unsafe or no archive, naming the member.
    """
    if source.is_dir():
        found = _folder_members(source)
    elif zipfile.is_zipfile(source):
        found = _zip_members(source)
    else:
        found = _tar_members(source)
    for count, member in enumerate(found):
        if count >= MAX_MEMBERS:
            raise DataError(f"{source} has more than {MAX_MEMBERS:,} members", _UNSAFE_HINT)
        if member.size > MAX_MEMBER_BYTES or member.size < 0:
            raise DataError(
                f"{source}: {member.path} has {member.size:,} bytes, more than the "
                f"{MAX_MEMBER_BYTES:,} allowed",
                "a data set of small images has no such file: remove it",
            )
        yield member


def _damaged(source: Path, error: BaseException) -> DataError:
    return DataError(
        f"{source} can't be read: {error or type(error).__name__}",
        "it may be cut short or damaged: get it again and compare its checksum",
    )


def _guarded(source: Path, read: Callable[[], bytes]) -> Callable[[], bytes]:
    def reading() -> bytes:
        try:
            return read()
        except _DAMAGE as error:
            raise _damaged(source, error) from error

    return reading


@contextmanager
def _damage(source: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(source, error) from error


def _safe_path(source: Path, name: str) -> str:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:/", name):
        raise DataError(f"{source}: {name!r} leads out of the archive", _UNSAFE_HINT)
    return "/".join(part for part in parts if part not in ("", "."))


class _Header(tarfile.TarInfo):
    """A tar header that refuses what ``tarfile`` would swallow."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        # Past the first member tarfile takes garbage, or nothing, for the end of the archive.
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"no end mark, but {error}") from error

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        extension = self.type in _EXTENSIONS
        if extension and not 0 <= self.size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError(f"{self.name!r} is a sparse file")
        return super()._proc_member(archive)  # type: ignore[misc]


def _tar_members(source: Path) -> Iterator[Member]:
    with _damage(source), source.open("rb") as plain:
        start = plain.read(6)
        plain.seek(0)
        opener = next((o for magic, o in _PACKED.items() if start.startswith(magic)), None)
        # Our own decompressor, since tarfile's inflates a whole block, however large it gets.
        packed = io.BufferedReader(opener(source) if opener else plain, _BUFFER)
        with packed, tarfile.open(fileobj=packed, mode="r|", tarinfo=_Header) as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep millions
                yield _tar_member(source, archive, info)


def _tar_member(source: Path, archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    path = _safe_path(source, info.name)
    if not (info.isreg() or info.isdir()):
        raise DataError(f"{source}: {info.name!r} is a link or a device", _UNSAFE_HINT)

    def read() -> bytes:
        file = archive.extractfile(info)
        return file.read() if file else b""

    return Member(path, info.isdir(), info.size, _guarded(source, read))


def _zip_members(source: Path) -> Iterator[Member]:
    with _damage(source), zipfile.ZipFile(source) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            yield _zip_member(source, archive, info)


def _zip_member(source: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    path = _safe_path(source, info.filename.replace("\\", "/"))
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(f"{source}: {info.filename!r} is a link or a device", _UNSAFE_HINT)
    if info.flag_bits & 0x1:
        raise DataError(
            f"{source}: {info.filename!r} is encrypted", "unpack it and give the folder instead"
        )
    return Member(path, info.is_dir(), info.file_size, _guarded(source, lambda: archive.read(info)))


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
    with _damage(file):
        if file.is_symlink() and not file.resolve().is_relative_to(root):
            raise DataError(
                f"{file} is a link that leads out of {root}", "copy the file there instead"
            )
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{file} is no plain file", "remove it from the folder")
    path = file.relative_to(root).as_posix()
    return Member(path, False, status.st_size, _guarded(file, file.read_bytes))
