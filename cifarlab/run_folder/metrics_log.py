"""The metrics log: one JSON line per epoch, flushed as it happens.

    {"epoch": 3, "step": 1056, "lr": 0.081,
     "train": {"loss": 1.02, "accuracy": 0.63}, "val": {"loss": ..., "accuracy": ...} or null,
     "cost": {"train_seconds": ..., "evaluate_seconds": ..., "images_per_second": ...}}

``epoch`` counts from 1, ``step`` counts optimizer steps from the run's start, ``lr`` is the
learning rate of the epoch's last step. Whatever is measured with a clock stands under ``cost``,
so that everything else is the same each time the same recipe runs.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cifarlab.run_folder.json_lines import JsonLines
from cifarlab.run_folder.schemas import MetricsLine
from cifarlab.system.errors import RunFolderError

_HINT = "remove that line to read the rest, or restore the file"


class MetricsLog(JsonLines):
    """``metrics.jsonl``, or another file of one ``schema`` per epoch."""

    def __init__(self, path: Path, schema: type[BaseModel] = MetricsLine) -> None:
        super().__init__(path, schema, _HINT)

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
        self._keep([line for line in self.read() if line["epoch"] <= epoch])


def without_cost(tree: Any) -> Any:
    """Return a metrics log or result without ``cost``: equal for equal runs."""
    if isinstance(tree, dict):
        return {key: without_cost(value) for key, value in tree.items() if key != "cost"}
    return [without_cost(value) for value in tree] if isinstance(tree, list) else tree
