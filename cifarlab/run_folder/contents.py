"""What a run folder consists of, part by part: how large each is, and how it is deleted.

checkpoints    what a run goes on from: the optimizer's state, beside the weights
weights        what predicts
predictions    logits of each image, the worst mistakes
figures        report/ and explained/
tensor-stats   histograms by epoch
audit          what an audit found, and the runs of its folds
exports        the network as one file, with its certificate
results        all else: recipe, plug-ins, provenance, metrics, result, evaluations
"""

import os
import stat
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cifarlab.system.errors import UserError
from cifarlab.system.files import disk_errors

RESULTS = "results"
PARTS = (
    "checkpoints",
    "weights",
    "predictions",
    "figures",
    "tensor-stats",
    "audit",
    "exports",
    RESULTS,
)
_FOLDERS = {
    "checkpoints": "checkpoints",
    "predictions": "predictions",
    "report": "figures",
    "explained": "figures",
    "tensor_stats.jsonl": "tensor-stats",
    "audit": "audit",
    "export": "exports",
}
_WEIGHTS = ("last.safetensors", "best.safetensors")


class RunFile(NamedTuple):
    """A file of a run: its path, its size in bytes, and the part that it belongs to.

    ``target`` is what it leads to, where it is a link.
    """

    path: Path
    n_bytes: int
    part: str
    target: str = ""


def list_files(run: Path) -> list[RunFile]:
    """Return all files of a run but its lock; those that say what it was come last.

    A link to a folder is one of them: what it leads to is not the run's.
    """
    files, start = [], len(str(run)) + 1
    for folder, subfolders, names in os.walk(run):
        links = [name for name in subfolders if Path(folder, name).is_symlink()]
        for name in (*links, *names):
            inner_path = f"{folder}{os.sep}{name}"[start:]  # faster than Path.relative_to
            if inner_path != ".lock":
                path = Path(folder, name)
                status = path.lstat()
                target = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else ""
                part = _part(inner_path.partition(os.sep)[0], name, is_folder=name in subfolders)
                files.append(RunFile(path, status.st_size, part, target))
    return sorted(files, key=lambda file: (file.part == RESULTS, file.path.name == "recipe.yaml"))


def _part(top: str, name: str, *, is_folder: bool) -> str:
    """Return the part of a file, or a linked folder, by the first and the last name of its path."""
    part = _FOLDERS.get(top, RESULTS)
    if part == "checkpoints" and (name in _WEIGHTS or is_folder):
        return "weights"
    return part


def sizes_by_part(files: Iterable[RunFile]) -> dict[str, int]:
    """Return the bytes that each part has in these files."""
    sizes = dict.fromkeys(PARTS, 0)
    for file in files:
        sizes[file.part] += file.n_bytes
    return {part: size for part, size in sizes.items() if size}


def parse_parts(text: str) -> set[str]:
    """Return the parts in a list with commas; results are always among them.

    Raises:
        UserError: there is no such part
    """
    parts = {name.strip() for name in text.split(",") if name.strip()} | {RESULTS}
    if unknown := sorted(parts - {*PARTS}):
        raise UserError(f"a run has no part {unknown[0]!r}", f"take some of {', '.join(PARTS)}")
    return parts | ({"weights"} if "checkpoints" in parts else set())


def delete_files(run: Path, files: Collection[RunFile]) -> None:
    """Delete files of a run, in their order, and the folders that this leaves empty.

    Raises:
        StorageError: the disk refused
    """
    for file in files:
        with disk_errors(file.path):
            file.path.unlink(missing_ok=True)
    for name, _, _ in os.walk(run, topdown=False):
        if Path(name) != run:
            with suppress(OSError):  # what is kept is in it
                Path(name).rmdir()
