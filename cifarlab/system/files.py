"""Files: written whole or not at all, read up to a size; and the disk's errors in words."""

import errno
import hashlib
import json
import os
import platform
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from cifarlab.system.errors import CifarlabError, RunFolderError, StorageError

MAX_YAML_BYTES = 2**20  # a search over two choices of 3,000 values has some 60 kB
MAX_BYTES = 2**27  # of a file that is read whole; a record of 300 epochs has some 30 MB
_MOST_LEVELS = 32  # of lists and mappings inside each other; ours have 7
_MOST_NUMBER = 2**63
_MACHINE = re.sub(r"\W", "-", platform.node())  # names temporary files: a pid is one machine's

_HINTS = {
    errno.ENOSPC: "free some space, then go on (a run: with --resume); what was complete is kept",
    errno.EDQUOT: "free some of your quota, then go on (a run: with --resume); what was complete "
    "is kept",
    errno.EROFS: "the disk is read-only: choose another path",
    errno.EACCES: "you may not write there: choose another path or change its permissions",
    errno.EPERM: "you may not write there: choose another path or change its permissions",
    errno.EEXIST: "a part of the path is a file: choose another path",
    errno.ENOTDIR: "a part of the path is a file: choose another path",
}


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into an error that names ``path``.

    Raises:
        StorageError: the disk refused
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "check the disk and its permissions")
        raise StorageError(f"can't write {path}: {reason}", hint) from error


@contextmanager
def lock_folder(folder: Path, error: CifarlabError, timeout: float = 0) -> Iterator[None]:
    """Lock a folder, made where it is missing, for one process; the lock ends with the process.

    Args:
        folder: what is locked
        error: what is raised where another process holds the lock
        timeout: seconds to wait for it

    Raises:
        StorageError: the folder can't be made
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(folder / ".lock", timeout=timeout))
            except Timeout as held:
                raise error from held
        yield


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below ``folder`` whose writers were killed.

    Whether another machine's process still runs can't be seen from here: of its files only those
    of checkpoints are removed, since these are written under the folder's lock, which our caller
    holds.

    Raises:
        StorageError: one can't be removed
    """
    import psutil

    with disk_errors(folder):
        for path in folder.rglob(".*.part"):
            writer, _, pid = path.stem.rpartition("-")
            ours = writer.endswith(f".{_MACHINE}") and pid.isdecimal()
            is_live = psutil.pid_exists(int(pid)) if ours else path.parent.name != "checkpoints"
            if not is_live:
                path.unlink(missing_ok=True)


def rename(source: Path, target: Path) -> None:
    """Replace ``target`` by ``source`` so that a power cut can't undo it.

    Raises:
        OSError: the disk refused
    """
    source.replace(target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def to_utf8(text: str) -> str:
    """Return a text that UTF-8 can hold: bytes of a file name that are not UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file by ``content``, flushed to the disk first.

    A reader sees the old file or the new one, whatever kills the writer.

    Raises:
        StorageError: the disk refused
    """
    temporary = _temporary_name(path)
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            rename(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Replace a file by another's content, as ``write_bytes`` does.

    Where the disk can do that, both are names of the same file, which no other function here
    changes: each replaces a name.

    Raises:
        StorageError: the disk refused
    """
    temporary = _temporary_name(target)
    try:
        with disk_errors(target):
            try:
                os.link(source, temporary)
            except OSError:
                write_bytes(target, source.read_bytes())
            else:
                rename(temporary, target)
    finally:
        with suppress(OSError):  # it stays where both were names of one file before
            temporary.unlink(missing_ok=True)


def _temporary_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{_MACHINE}-{os.getpid()}.part")


def write_text(path: Path, text: str) -> None:
    """Replace a file by ``text`` (UTF-8, see ``to_utf8``), as ``write_bytes`` does."""
    write_bytes(path, to_utf8(text).encode())


def write_json(path: Path, tree: Any) -> None:
    """Replace a file by plain values as indented JSON, as ``write_bytes`` does."""
    write_text(path, json.dumps(tree, indent=2) + "\n")


# unlike Path's, these return False where a name is too long, or where reading is not permitted
def exists(path: Path) -> bool:
    """Return whether there is a file or folder at the path, as far as this user may see."""
    return os.path.exists(path)  # noqa: PTH110


def is_folder(path: Path) -> bool:
    """Return whether there is a folder at the path, as far as this user may see."""
    return os.path.isdir(path)  # noqa: PTH112


class SpecialFileError(OSError):
    """A pipe, socket or device instead of a file: reading it may never end."""


def refuse_special_file(path: Path) -> Path:
    """Return the path of a regular file or a folder.

    Raises:
        SpecialFileError: a pipe, socket or device is there
        OSError: nothing is there
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        raise SpecialFileError(f"it is a {kinds.get(stat.S_IFMT(mode), 'device')}, no plain file")
    return path


def hint_to_read(error: Exception, default: str) -> str:
    """Return what to do about a file that can't be read; ``default`` for all but special files."""
    is_special = isinstance(error, SpecialFileError)
    return "save its content as a file, and name that" if is_special else default


def read_bytes(path: Path, max_bytes: int = MAX_BYTES) -> bytes:
    """Return a regular file's content.

    Raises:
        OSError: it can't be read, is a special file, or has more bytes
    """
    size = refuse_special_file(path).stat().st_size
    if size > max_bytes:
        raise OSError(f"it has {size:,} bytes, more than {max_bytes:,}")
    return path.read_bytes()


def read_text(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Return a regular file's UTF-8 text.

    Raises:
        OSError: as ``read_bytes`` does
        UnicodeDecodeError: it is no UTF-8
    """
    return read_bytes(path, max_bytes).decode("utf-8").replace("\r\n", "\n")


def parse_json(text: str) -> Any:
    """Return the plain values of a JSON text.

    Raises:
        ValueError: it is no JSON, nested too deep, or holds a number of over 64 bits
    """
    try:
        return _bounded(json.loads(text), _MOST_LEVELS)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _bounded(tree: Any, levels: int) -> Any:
    """Return plain values with texts that UTF-8 can hold. Raises ValueError beyond the bounds."""
    if not levels:
        raise ValueError("it is nested too deep")
    if isinstance(tree, str):
        return to_utf8(tree)
    if isinstance(tree, dict):
        return {_bounded(k, 1): _bounded(value, levels - 1) for k, value in tree.items()}
    if isinstance(tree, list):
        return [_bounded(value, levels - 1) for value in tree]
    if isinstance(tree, int) and not -_MOST_NUMBER <= tree < _MOST_NUMBER:
        raise ValueError("it holds a number of over 64 bits")
    return tree


# raises ValueError where plain values are not as they should be
Check = Callable[[Any], dict[str, Any]]


@contextmanager
def damage_errors(
    what: str, hint: str, kind: type[CifarlabError] = RunFolderError
) -> Iterator[None]:
    """Turn what a damaged file makes the block raise into one of cifarlab's errors.

    Args:
        what: the start of the error's first line
        hint: its second line, except for a special file
        kind: the error's class
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RuntimeError) as error:
        cause = getattr(error, "strerror", None) or reason(error)
        raise kind(f"{what}: {cause}", hint_to_read(error, hint)) from error


def read_json(path: Path, hint: str, check: Check | None = None) -> dict[str, Any] | None:
    """Return the JSON object in a file, None where there is no file.

    Args:
        path: the file
        hint: what to do about a damaged one
        check: raises ValueError for an object that is not as it should be

    Raises:
        RunFolderError: it can't be read, holds no object, or one that ``check`` refuses
    """
    with damage_errors(f"can't read {path}", hint):
        if not path.exists():
            return None
        content = parse_json(read_text(path))
        if isinstance(content, dict):
            return check(content) if check else content
    raise RunFolderError(f"{path} holds no JSON object", hint)


def read_json_lines(path: Path, hint: str, check: Check) -> list[dict[str, Any]]:
    """Return the JSON objects of a file with one in each line, none where there is no file.

    A last line without a line end is left out: its writer has not finished it, or was killed.

    Args:
        path: the file
        hint: what to do about a damaged one
        check: raises ValueError for an object that is not as it should be

    Raises:
        RunFolderError: a line holds no object, or one that ``check`` refuses
    """
    with damage_errors(f"can't read {path}", hint):
        lines = read_text(path).split("\n")[:-1] if path.exists() else []
    return [parse_line(line, f"{path}, line {n}", hint, check) for n, line in enumerate(lines, 1)]


def parse_line(text: str, where: str, hint: str, check: Check) -> dict[str, Any]:
    """Return the JSON object in a line.

    Args:
        text: the line
        where: its file and number, for the error
        hint: what to do about a damaged one
        check: raises ValueError for an object that is not as it should be

    Raises:
        RunFolderError: it holds no object, or one that ``check`` refuses
    """
    with damage_errors(f"{where} is damaged: {text[:40]!r}", hint):
        return check(parse_json(text))


def write_arrays(path: Path, arrays: dict[str, Any], metadata: Any = None) -> None:
    """Replace a file by arrays and plain values, as safetensors.

    Args:
        path: the file
        arrays: NumPy arrays by name
        metadata: plain values that JSON can hold

    Raises:
        StorageError: the disk refused
    """
    import numpy as np
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # one entry: safetensors writes several in no fixed order
    write_bytes(path, save(contiguous, {"cifarlab": json.dumps(metadata)}))


def read_arrays(path: Path, framework: str = "numpy") -> tuple[dict[str, Any], Any]:
    """Return the arrays and plain values that ``write_arrays`` wrote; see ``damage_errors``."""
    from safetensors import safe_open

    with safe_open(refuse_special_file(path), framework) as file:
        metadata = parse_json((file.metadata() or {}).get("cifarlab", "null"))
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118


def reason(error: Exception) -> str:
    """Return an error's message in one line of at most 160 characters."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def sha256(path: Path) -> str:
    """Return the SHA-256 (hex) of a file's content.

    Raises:
        OSError: it can't be read
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file and flush it to the disk.

    Raises:
        StorageError: the disk refused
    """
    with disk_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())
