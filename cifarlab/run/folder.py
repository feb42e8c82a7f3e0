"""Where everything of a run lies, and the small files in it.

runs/<name>/
  recipe.yaml         the recipe, complete
  provenance.json     code and library versions, device, threads, data fingerprint, each start
                      (time, command, step) and each opening of the test split
  journal.jsonl       one line per epoch, flushed as it happens
  checkpoints/        last and best: weights as safetensors, the rest of the state beside them
  predictions/        logits and labels of each evaluated split, the worst mistakes as images
  record.jsonl        weights, activations and gradients by epoch, where they were recorded
  explained/          figures of 'cifarlab explain', and what they show
  result.json         written last, whole; a run without it is unfinished
  evaluation/         what 'cifarlab evaluate --everything' found out of a split, as JSON
  audit/              what 'cifarlab audit' found in the data
"""

import json
import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cifarlab.errors import RunFolderError
from cifarlab.recipe import Recipe, from_yaml, to_yaml
from cifarlab.run.journal import Journal
from cifarlab.run.schemas import Provenance, RecordLine, Result, checked
from cifarlab.storage import exists, held, is_folder, read_json, remove_leftovers, write_text

_RESTORE = "it was written whole once: restore it"


class RunFolder:
    """Paths and small files of one run; cheap to make, reads nothing until asked."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.yaml"
        self.provenance_file = self.path / "provenance.json"
        self.result_file = self.path / "result.json"
        self.journal = Journal(self.path / "journal.jsonl")
        self.record = Journal(self.path / "record.jsonl", RecordLine)
        self.explained = self.path / "explained"
        self.checkpoints = self.path / "checkpoints"
        self.predictions = self.path / "predictions"
        self.audit = self.path / "audit"

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return exists(self.recipe_file)

    @property
    def vacant(self) -> bool:
        """Whether a new run may be started here: nothing is there, or what a killed start left."""
        left = ("*.part", ".lock")
        return not is_folder(self.path) or all(
            any(p.match(pattern) for pattern in left) for p in self.path.iterdir()
        )

    @property
    def finished(self) -> bool:
        """Whether the run reached its end."""
        return exists(self.result_file)

    def resume_command(self, recipe: str) -> str:
        """What to type to go on with an unfinished run of the recipe of that name."""
        return shlex.join(["cifarlab", "train", recipe, "--run", str(self.path), "--resume"])

    def require(self) -> "RunFolder":
        """Itself, or a RunFolderError where no run was started."""
        if not self.exists:
            raise RunFolderError(
                f"{self.path} is no run folder: it has no recipe.yaml",
                "name a folder that 'cifarlab train' made",
            )
        return self

    def weights(self, checkpoint: str) -> Path:
        """Where the weights of the ``last`` or the ``best`` checkpoint lie."""
        return self.checkpoints / f"{checkpoint}.safetensors"

    def require_same_data(self, fingerprint: str) -> None:
        """A RunFolderError where the run was trained on images of another fingerprint."""
        known = self.provenance().get("data", {}).get("fingerprint")
        if known not in (None, fingerprint):
            raise RunFolderError(
                f"the images are not those that {self.path} was trained on",
                "restore them, or start a new run",
            )

    def recipe(self) -> Recipe:
        """The run's recipe. Raises RunFolderError or RecipeError."""
        self.require()
        return from_yaml(self.recipe_file)

    def write_recipe(self, recipe: Recipe) -> None:
        """Start the folder. Raises StorageError."""
        write_text(self.recipe_file, to_yaml(recipe))

    def provenance(self) -> dict[str, Any]:
        """What is known of how the run was made; empty before it starts."""
        return read_json(self.provenance_file, _RESTORE, checked(Provenance)) or {}

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        """Replace provenance.json, whole. Raises StorageError."""
        write_text(self.provenance_file, json.dumps(provenance, indent=2) + "\n")

    def result(self) -> dict[str, Any] | None:
        """The result of a finished run, None of an unfinished one."""
        return read_json(self.result_file, _RESTORE, checked(Result))

    def temperature(self) -> float | None:
        """The temperature fitted on validation, above 0; None where a result holds none."""
        value = ((self.result() or {}).get("temperature") or {}).get("value")
        if isinstance(value, int | float) and math.isfinite(value) and value > 0:
            return float(value)
        return None

    def write_result(self, result: dict[str, Any]) -> None:
        """Finish the run. Raises StorageError."""
        write_text(self.result_file, json.dumps(result, indent=2) + "\n")

    def evaluation(self, split: str) -> dict[str, Any] | None:
        """What ``evaluate --everything`` found out of that split, None where it did not run."""
        return read_json(self._evaluation_file(split), _RESTORE)

    def write_evaluation(self, split: str, found: dict[str, Any]) -> None:
        """Replace what was found out of that split, whole. Raises StorageError."""
        write_text(self._evaluation_file(split), json.dumps(found, indent=2) + "\n")

    def _evaluation_file(self, split: str) -> Path:
        return self.path / "evaluation" / f"{split}.json"

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the folder for one writer; the lock dies with its process.

        Raises RunFolderError where another process holds it, StorageError where it can't be made.
        """
        busy = RunFolderError(
            f"{self.path} is in use by another process",
            "wait for it or end it, or give another folder with --run",
        )
        with held(self.path, busy):
            remove_leftovers(self.path)
            try:
                yield
            finally:
                if self.vacant:  # it failed before it began: leave no empty folder behind
                    with suppress(OSError):
                        (self.path / ".lock").unlink()
                        self.path.rmdir()
