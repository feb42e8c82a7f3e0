"""A member of a folder or archive, and what all readers of members share."""

import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cifarlab.system.errors import DataError
from cifarlab.system.files import hint_to_read, reason

_DAMAGE = (
    ValueError,  # what zipfile and tarfile let through: text that is not UTF-8, a bad number
    LookupError,
    OverflowError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    lzma.LZMAError,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,  # zipfile: an unknown compression method
    RecursionError,  # tarfile: thousands of chained extension headers
)
UNSAFE_HINT = "an honest archive of images has none of these: don't use this file"


@dataclass(frozen=True)
class Member:
    """A file or folder: ``path`` is relative, with slashes, without ``.`` and ``..``.

    ``read`` gives a file's content and must be called before the next member is asked for.
    """

    path: str
    is_folder: bool
    size: int
    read: Callable[[], bytes]


def _damaged(source: Path, error: Exception) -> DataError:
    damaged = "it may be cut short or damaged: get it again and compare its checksum"
    what = f"{source} can't be read: {reason(error)}"
    return DataError(what, hint_to_read(error, damaged))


def guard_read(source: Path, read: Callable[[], bytes]) -> Callable[[], bytes]:
    """Make ``read`` raise DataError where the source is damaged."""

    def reading() -> bytes:
        try:
            return read()
        except _DAMAGE as error:
            raise _damaged(source, error) from error

    return reading


def starts_with(source: Path, magic: bytes) -> bool:
    """By its start, since zipfile.is_zipfile takes a tar that ends in a zip for one."""
    with damage_errors(source), source.open("rb") as file:
        return file.read(len(magic)) == magic


@contextmanager
def damage_errors(source: Path) -> Iterator[None]:
    """Turn what damaged data raises in the block into a DataError that names ``source``."""
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(source, error) from error


def safe_path(source: Path, name: str) -> str:
    """Give a member's path in its plain form. Raises DataError if it leads out."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:/", name):
        raise DataError(f"{source}: {name!r} leads out of the archive", UNSAFE_HINT)
    return "/".join(part for part in parts if part not in ("", "."))
