"""Files that appear whole or not at all, and disks that refuse, in words."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cifarlab.errors import CifarlabError, StorageError

_HINTS = {
    errno.ENOSPC: "free some space, then go on (a run: with --resume); what was complete is kept",
    errno.EDQUOT: "free some of your quota, then go on (a run: with --resume); what was complete "
    "is kept",
    errno.EROFS: "the disk is read-only: choose another place",
    errno.EACCES: "you may not write there: choose another place or change its permissions",
    errno.EPERM: "you may not write there: choose another place or change its permissions",
    errno.EEXIST: "a part of the path is a file: choose another place",
    errno.ENOTDIR: "a part of the path is a file: choose another place",
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into a StorageError that names ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "check the disk and its permissions")
        raise StorageError(f"can't write {path}: {reason}", hint) from error


@contextmanager
def held(folder: Path, busy: CifarlabError) -> Iterator[None]:
    """Hold a folder, made where it is missing, for one process; the lock dies with it.

    Raises ``busy`` where another process holds it, StorageError where it can't be made.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock", timeout=0)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout as error:
            raise busy from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success flush it to disk and rename it.

    A reader sees the old file or the new one, whatever kills the writer. Raises StorageError.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            rename(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def rename(source: Path, target: Path) -> None:
    """Replace ``target`` by ``source`` so that a power cut can't undo it. Raises OSError."""
    source.replace(target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, whole or not at all. Raises StorageError."""
    with written_whole(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` (UTF-8), whole or not at all. Raises StorageError."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path) -> str:
    """Return the sha256 (hex) of a file's content. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file and flush it to the disk. Raises StorageError."""
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
