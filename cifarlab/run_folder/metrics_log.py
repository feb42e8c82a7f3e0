"""The metrics log: one JSON line per epoch, flushed as it happens.

    {"epoch": 3, "step": 1056, "lr": 0.081,
     "train": {"loss": 1.02, "accuracy": 0.63}, "val": {"loss": ..., "accuracy": ...} or null,
     "cost": {"train_seconds": ..., "evaluate_seconds": ..., "images_per_second": ...}}

``epoch`` counts from 1, ``step`` counts optimizer steps from the run's start, ``lr`` is the
learning rate of the epoch's last step. Whatever is measured with a clock stands under ``cost``,
so that everything else is the same each time the same recipe runs.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cifarlab.run_folder.schemas import MetricsLine, make_check
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import append_line, parse_line, read_json_lines, write_text

_HINT = "remove that line to read the rest, or restore the file"


class MetricsLog:
    """Appends to and reads ``metrics.jsonl``, or another file of one ``schema`` per epoch."""

    def __init__(self, path: Path, schema: type[BaseModel] = MetricsLine) -> None:
        self.path = path
        self._schema = schema

    def append(self, line: dict[str, Any]) -> None:
        """Add one line and flush it to the disk.

        Raises:
            StorageError: the disk refused
        """
        append_line(self.path, json.dumps(line))

    def read(self) -> list[dict[str, Any]]:
        """Return all complete lines, oldest first; none before the first epoch ends.

        A last line without a line end is left out: its writer has not finished it, or was killed.

        Raises:
            RunFolderError: a line is damaged
        """
        return read_json_lines(self.path, _HINT, make_check(self._schema))

    def keep_until(self, epoch: int) -> None:
        """Drop the lines after ``epoch``: a resumed run will write them again.

        Raises:
            RunFolderError: an epoch up to that one is missing
            StorageError: the disk refused
        """
        epochs_before = [line["epoch"] for line in self.read() if line["epoch"] <= epoch]
        if epochs_before != list(range(1, epoch + 1)):
            raise RunFolderError(
                f"{self.path} lacks epochs before the checkpoint's epoch {epoch}",
                "restore the metrics log, or start the run anew in another folder",
            )
        self.drop_after(epoch)

    def drop_after(self, epoch: int) -> None:
        """Drop the lines after ``epoch``.

        Raises:
            RunFolderError: a line is damaged
            StorageError: the disk refused
        """
        lines = [line for line in self.read() if line["epoch"] <= epoch]
        write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))

    def parse(self, text: str, position: str) -> dict[str, Any]:
        """Return the content of one line; ``position`` names it in the error.

        Raises:
            RunFolderError: the line is damaged
        """
        return parse_line(text, f"{self.path}, {position}", _HINT, make_check(self._schema))


def without_cost(tree: Any) -> Any:
    """Return a metrics log or result without ``cost``: equal for equal runs."""
    if isinstance(tree, dict):
        return {key: without_cost(value) for key, value in tree.items() if key != "cost"}
    return [without_cost(value) for value in tree] if isinstance(tree, list) else tree
