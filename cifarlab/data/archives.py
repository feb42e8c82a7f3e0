"""Folders, tar and zip archives as one stream of members; nothing is ever extracted to disk.

An archive is read once, front to back, since seeking in an xz file means decompressing it again.
It is taken for hostile: what is neither a plain file nor a folder inside of it is refused by name.
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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.system.errors import CifarlabError, DataError
from cifarlab.system.files import exists, hint_to_read, reason, refuse_special_file, to_utf8

MAX_MEMBER_BYTES = 2**28  # CIFAR-100's training pickle, the largest honest one, has 155 MB
MAX_MEMBERS = 10_000_000
MAX_HEADER_BYTES = 2**16  # tarfile keeps hundreds of long-name or pax headers at a time
_BUFFER = 2**20  # few hand-overs between decompressing here and decoding in threads
_PACKED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
_ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_UNPACK = "unpack it with another program, and give the folder"
_EXTENSIONS = (b"L", b"K", b"x", b"g", b"X")  # types of long names, long links and pax headers


class Member(NamedTuple):
    """A file or folder of an archive.

    ``path`` is relative, with slashes, without ``.`` and ``..``. ``read`` returns a file's content;
    it works until the next member is taken. ``fault`` is why the member is refused, and what to do.
    """

    path: str
    is_folder: bool
    size: int
    read: Callable[[], bytes]
    fault: tuple[str, str] | None = None


@contextmanager
def damage_errors(source: Path) -> Iterator[None]:
    """Turn what damaged data raises in the block into an error that names ``source``.

    Raises:
        DataError: the block failed, for whatever reason but a lack of memory
    """
    try:
        yield
    except (CifarlabError, MemoryError):
        raise
    # Readers of hostile bytes fail with whatever they meet: LookupError, struct.error, ...
    except Exception as error:
        default_hint = "it may be cut short or damaged: get it again and compare its checksum"
        if isinstance(error, OSError) and error.errno:  # the disk's word, not a reader's
            default_hint = "check its name, its permissions and its disk"
        what = f"{source} can't be read: {reason(error)}"
        raise DataError(what, hint_to_read(error, default_hint)) from error


def iter_members(source: Path) -> Iterator[Member]:
    """Yield the members of a folder, sorted, or of an archive, in its own order.

    Raises:
        DataError: the source is no archive, or a member, which is named, is damaged or unsafe
    """
    with damage_errors(source):
        for count, member in enumerate(_members(source)):
            parts = member.path.split("/")
            path = "/".join(part for part in parts if part not in ("", "."))
            fault = member.fault
            if member.path.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:/", member.path):
                path, fault = member.path, ("leads out of the archive", "take another, sound one")
            elif to_utf8(path) != path:
                fault = "is not UTF-8", "rename that file or folder"
            elif not 0 <= member.size <= MAX_MEMBER_BYTES:
                fault = f"has {member.size:,} bytes, over {MAX_MEMBER_BYTES:,}", "remove it"
            elif count >= MAX_MEMBERS:
                fault = f"comes after more than {MAX_MEMBERS:,} members", "take a part of them"
            if fault:
                raise DataError(f"{source}: {to_utf8(path)!r} {fault[0]}", fault[1])
            yield member._replace(path=path, read=partial(_read, source, member))


def require_distinct(source: Path, names: Iterable[str]) -> None:
    """Refuse an archive, ``source``, that holds two files of one name.

    Raises:
        DataError: one of ``names`` is there twice
    """
    for name, count in Counter(names).most_common(1):
        if count > 1:
            raise DataError(f"{source}: {name!r} is there twice", "pack it again, with one of them")


def _read(source: Path, member: Member) -> bytes:
    with damage_errors(source):
        return member.read()


def _members(source: Path) -> Iterator[Member]:
    if refuse_special_file(source).is_dir():
        return _folder_members(source.resolve())
    with source.open("rb") as file:
        start = file.read(6)
    if start.startswith(b"PK"):  # zipfile.is_zipfile takes a tar that ends in a zip for one
        return _zip_members(source)
    opener = next((o for magic, o in _PACKED.items() if start.startswith(magic)), io.FileIO)
    return _tar_members(opener(source))


def _folder_members(root: Path) -> Iterator[Member]:
    for folder, folders, files in os.walk(root, onerror=_raise):
        folders.sort()
        parent = Path(folder)
        for path in [parent / name for name in folders + sorted(files)]:
            status, fault = path.lstat(), None
            if is_link := stat.S_ISLNK(status.st_mode):
                status = path.stat() if exists(path) else status
            is_folder = stat.S_ISDIR(status.st_mode)
            if stat.S_ISLNK(status.st_mode):
                fault = "is a link that leads nowhere", "remove it"
            elif is_link and is_folder:
                fault = "is a link to a folder", "put the folder in its place"
            elif is_link and not path.resolve().is_relative_to(root):
                fault = "is a link that leads out of the folder", "put the file in its place"
            elif not (is_folder or stat.S_ISREG(status.st_mode)):
                fault = "is no plain file", "remove it"
            name, size = path.relative_to(root).as_posix(), 0 if is_folder else status.st_size
            yield Member(name, is_folder, size, path.read_bytes, fault)


def _raise(error: OSError) -> None:
    raise error


def _zip_members(source: Path) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            mode = stat.S_IFMT(info.external_attr >> 16)
            faults = {
                "is a link or a device": mode not in (0, stat.S_IFREG, stat.S_IFDIR),
                "is encrypted": info.flag_bits & 0x1,
                "is compressed, but not by deflate": info.compress_type not in _ZIP_METHODS,
            }
            yield Member(
                info.filename.replace("\\", "/"),
                info.filename.endswith("/"),  # ZipFile's own test fails for an empty name
                info.file_size,
                partial(_read_zip, archive, info),
                next(((what, _UNPACK) for what, is_so in faults.items() if is_so), None),
            )


def _read_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        return file.read(info.file_size)  # without a number, zipfile inflates all that is there


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
        if self.type in _EXTENSIONS and not 0 <= self.size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]

    # tarfile makes a list of a sparse file's parts before anybody sees that it is sparse
    def _proc_sparse(self, _: tarfile.TarFile) -> tarfile.TarInfo:
        self._mark_sparse(self)
        return self

    def _mark_sparse(self, member: tarfile.TarInfo, *_: object) -> None:
        member.sparse = b""

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _mark_sparse


def _tar_members(unpacked: Any) -> Iterator[Member]:
    """Yield the members of a tar in one pass.

    ``unpacked`` is a decompressor of ours: tarfile's own inflates a whole block, however large.
    """
    with (
        io.BufferedReader(unpacked, _BUFFER) as buffered,
        tarfile.open(fileobj=buffered, mode="r|", tarinfo=_Header) as archive,
    ):
        while (info := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep millions
            is_plain = not info.issparse() and (info.isreg() or info.isdir())
            fault = None if is_plain else ("is a link, sparse or a device", _UNPACK)
            read = partial(_read_tar, archive, info)
            yield Member(info.name, info.isdir(), info.size, read, fault)


def _read_tar(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    return file.read() if file else b""
