"""Tar archives as a stream, without the trust that ``tarfile`` has in them."""

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cifarlab.data.members import (
    UNSAFE_HINT,
    Member,
    damage_errors,
    guard_read,
    safe_path,
    starts_with,
)
from cifarlab.system.errors import DataError

MAX_HEADER_BYTES = 2**20  # tarfile reads a long-name or pax header into memory whole
_BUFFER = 2**20  # few hand-overs between decompressing here and decoding in threads
_PACKED: dict[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"\xfd7zXZ\0": lzma.open,
    b"BZh": bz2.open,
}
_EXTENSIONS = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


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


def iter_tar_members(source: Path) -> Iterator[Member]:
    """Go through a tar, plain or compressed, in one pass. Raises DataError."""
    with damage_errors(source), source.open("rb") as plain:
        opener = next((o for magic, o in _PACKED.items() if starts_with(source, magic)), None)
        # Our own decompressor, since tarfile's inflates a whole block, however large it gets.
        packed = io.BufferedReader(opener(source) if opener else plain, _BUFFER)
        with packed, tarfile.open(fileobj=packed, mode="r|", tarinfo=_Header) as archive:
            while (info := archive.next()) is not None:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep millions
                yield _tar_member(source, archive, info)


def _tar_member(source: Path, archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    path = safe_path(source, info.name)
    if info.issparse() or not (info.isreg() or info.isdir()):
        raise DataError(f"{source}: {info.name!r} is a link, sparse or a device", UNSAFE_HINT)

    def read() -> bytes:
        file = archive.extractfile(info)
        return file.read() if file else b""

    return Member(path, info.isdir(), info.size, guard_read(source, read))
