"""Files that appear whole or not at all, are read with bounds, and disks that refuse, in words."""

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

MOST_YAML_BYTES = 2**20  # a search over two choices of 3,000 values has some 60 kB
MOST_BYTES = 2**27  # of a file that is read whole; a record of 300 epochs has some 30 MB
_MOST_LEVELS = 32  # of lists and mappings inside each other; ours have 7
_MOST_NUMBER = 2**63
_MACHINE = re.sub(r"\W", "-", platform.node())  # it names temporary files: pids are its own

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
    """Turn an OSError in the block into a StorageError that names ``path``."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "check the disk and its permissions")
        raise StorageError(f"can't write {path}: {reason}", hint) from error


@contextmanager
def lock_folder(folder: Path, busy: CifarlabError, patience: float = 0) -> Iterator[None]:
    """Hold a folder, made where it is missing, for one process; the lock dies with it.

    Raises ``busy`` where another process holds it for more than ``patience`` seconds, StorageError
    where it can't be made.
    """
    from filelock import FileLock, Timeout

    with ExitStack() as stack:
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(folder / ".lock", timeout=patience))
            except Timeout as error:
                raise busy from error
        yield


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files below ``folder`` whose writers were killed. Raises StorageError.

    Of another machine's processes nobody can tell whether they live: of theirs only the checkpoints
    go, since whoever writes these holds the folder, as our caller does.
    """
    import psutil

    with disk_errors(folder):
        for path in folder.rglob(".*.part"):
            writer, _, pid = path.stem.rpartition("-")
            ours = writer.endswith(f".{_MACHINE}") and pid.isdecimal()
            alive = psutil.pid_exists(int(pid)) if ours else path.parent.name != "checkpoints"
            if not alive:
                path.unlink(missing_ok=True)


def rename(source: Path, target: Path) -> None:
    """Replace ``target`` by ``source`` so that a power cut can't undo it. Raises OSError."""
    source.replace(target)
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def storable(text: str) -> str:
    """Return a text as UTF-8 can hold it: the bytes of a name that is not UTF-8 as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content``, flushed to the disk first. Raises StorageError.

    A reader sees the old file or the new one, whatever kills the writer.
    """
    temporary = path.with_name(f".{path.name}.{_MACHINE}-{os.getpid()}.part")
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


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` (UTF-8, see ``storable``), whole or not. Raises StorageError."""
    write_bytes(path, storable(text).encode())


def write_json(path: Path, tree: Any) -> None:
    """Replace ``path`` by plain values, to be read by people too. Raises StorageError."""
    write_text(path, json.dumps(tree, indent=2) + "\n")


# unlike Path's, these say no where a name is too long, or where nobody may look
def exists(path: Path) -> bool:
    """Return whether something is there that may be looked at."""
    return os.path.exists(path)  # noqa: PTH110


def is_folder(path: Path) -> bool:
    """Return whether it is a folder that may be looked at."""
    return os.path.isdir(path)  # noqa: PTH112


class NotPlainError(OSError):
    """A pipe, socket or device stands where a file should: it may never end."""


def require_plain(path: Path) -> Path:
    """Return a file's or folder's path. Raises NotPlainError, and OSError where nothing is."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kinds = {stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}
        raise NotPlainError(f"it is a {kinds.get(stat.S_IFMT(mode), 'device')}, no plain file")
    return path


def hint_to_read(error: Exception, usual: str) -> str:
    """Return what to do about a file that can't be read: ``usual``, but for one that is none."""
    plain = not isinstance(error, NotPlainError)
    return usual if plain else "save its content as a file, and name that"


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Return a plain file's content. Raises OSError, also for a pipe or device, or more bytes."""
    size = require_plain(path).stat().st_size
    if size > most:
        raise OSError(f"it has {size:,} bytes, more than {most:,}")
    return path.read_bytes()


def read_text(path: Path, most: int = MOST_BYTES) -> str:
    """Return a plain file's UTF-8 text. Raises UnicodeDecodeError, and as ``read_bytes``."""
    return read_bytes(path, most).decode("utf-8").replace("\r\n", "\n")


def parse_json(text: str) -> Any:
    """Plain values. Raises ValueError, and nothing else, for text that holds none of ours."""
    try:
        return _bounded(json.loads(text), _MOST_LEVELS)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def _bounded(tree: Any, levels: int) -> Any:
    """Return the same, with texts as UTF-8 can hold them. Raises ValueError beyond the bounds."""
    if not levels:
        raise ValueError("it is nested too deep")
    if isinstance(tree, str):
        return storable(tree)
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
    """Turn what a damaged file makes the block raise into an error that begins with ``what``."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, LookupError, ValueError, TypeError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise kind(f"{what}: {why}", hint_to_read(error, hint)) from error


def read_json(path: Path, hint: str, check: Check | None = None) -> dict[str, Any] | None:
    """The JSON object in a file, None where there is no file.

    Raises RunFolderError with ``hint`` for anything else, and for what ``check`` refuses.
    """
    with damage_errors(f"can't read {path}", hint):
        if not path.exists():
            return None
        content = parse_json(read_text(path))
        if isinstance(content, dict):
            return check(content) if check else content
    raise RunFolderError(f"{path} holds no JSON object", hint)


def read_json_lines(path: Path, hint: str, check: Check) -> list[dict[str, Any]]:
    """The objects in a file of one per line, none where there is no file.

    A last line without its end is being written, or was when its writer was killed: it is left
    out. Raises RunFolderError with ``hint`` for any other line that is none or that is refused.
    """
    with damage_errors(f"can't read {path}", hint):
        lines = read_text(path).split("\n")[:-1] if path.exists() else []
    return [parse_line(line, f"{path}, line {n}", hint, check) for n, line in enumerate(lines, 1)]


def parse_line(text: str, where: str, hint: str, check: Check) -> dict[str, Any]:
    """The JSON object in a line. Raises RunFolderError that says ``where``, with ``hint``."""
    with damage_errors(f"{where} is damaged: {text[:40]!r}", hint):
        return check(parse_json(text))


def write_arrays(path: Path, arrays: dict[str, Any], metadata: Any = None) -> None:
    """Replace ``path`` by arrays and plain values (safetensors). Raises StorageError."""
    import numpy as np
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    # one entry: safetensors writes several in no fixed order
    write_bytes(path, save(contiguous, {"cifarlab": json.dumps(metadata)}))


def read_arrays(path: Path, framework: str = "numpy") -> tuple[dict[str, Any], Any]:
    """Return what ``write_arrays`` wrote. Raises what ``damage_errors`` translates."""
    from safetensors import safe_open

    with safe_open(require_plain(path), framework) as file:
        metadata = parse_json((file.metadata() or {}).get("cifarlab", "null"))
        return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118


def reason(error: Exception) -> str:
    """What an error says, in one line of bounded length."""
    return " ".join(str(error).split())[:160] or type(error).__name__


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
