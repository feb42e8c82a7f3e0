"""The layout of a run folder, and its small files.

runs/<name>/
  format.json         the number of this layout, written first
  recipe.yaml         the recipe, complete
  plugins/            the plug-in files that the recipe names
  weights-HASH.csv    the file of data.sampler, where it has one
  provenance.json     code and library versions, device, threads, data fingerprint, each start
                      (time, command, step) and each opening of the test split
  metrics.jsonl       one line per epoch, flushed as it happens
  checkpoints/        last and best: weights as safetensors, the rest of the state beside them
  predictions/        logits and labels of each evaluated split, the worst mistakes as images
  tensor_stats.jsonl  weights, activations and gradients by epoch, where they were recorded
  logged.json         the ids by which loggers know the run
  explained/          figures of 'cifarlab explain', and what they show
  result.json         written last, whole; a run without it is unfinished
  evaluation/         what 'cifarlab evaluate --full' found out of a split, as JSON
  report/             the report, written after its figures
  audit/              what 'cifarlab audit' found in the data
  export/             what 'cifarlab export' wrote: the network as one file, its certificate
"""

import math
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarlab.run_folder import schemas
from cifarlab.run_folder.metrics_log import MetricsLog
from cifarlab.system import files
from cifarlab.system.errors import CheckpointError, RunFolderError

if TYPE_CHECKING:  # a recipe's families take a quarter of a second, which a list of runs has not
    from cifarlab.recipes.schema import Recipe

_EARLY_ENDS = {"max_time": "ended by its time limit", "stopped": "stopped by a search"}
_RESTORE = "it was written whole once: restore it"


class RunFolder:
    """Paths and small files of one run; each method reads its file anew."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.format_file = self.path / "format.json"
        self.recipe_file = self.path / "recipe.yaml"
        self.provenance_file = self.path / "provenance.json"
        self.result_file = self.path / "result.json"
        self.metrics = MetricsLog(self.path / "metrics.jsonl")
        self.tensor_stats = MetricsLog(self.path / "tensor_stats.jsonl", schemas.TensorStatsLine)
        self.logged_file = self.path / "logged.json"
        self.explained = self.path / "explained"
        self.checkpoints = self.path / "checkpoints"
        self.predictions = self.path / "predictions"
        self.audit = self.path / "audit"
        self.evaluations = self.path / "evaluation"
        self.report = self.path / "report" / "report.html"

    @property
    def exists(self) -> bool:
        """Return whether a run was started here."""
        return files.exists(self.recipe_file)

    @property
    def is_vacant(self) -> bool:
        """Return whether a new run may start here: nothing is here but what a killed start left."""
        leftovers = ("*.part", ".lock", self.format_file.name, "plugins", "weights-*.csv")
        return not files.is_folder(self.path) or all(
            any(p.match(pattern) for pattern in leftovers) for p in self.path.iterdir()
        )

    @property
    def is_finished(self) -> bool:
        """Return whether the run reached its end."""
        return files.exists(self.result_file)

    @property
    def has_report(self) -> bool:
        """Return whether a report was written since the run reached its end."""
        try:
            return self.report.stat().st_mtime_ns >= self.result_file.stat().st_mtime_ns
        except OSError:
            return False

    def resume_command(self, recipe: str) -> str:
        """Return the command that resumes this run, of the recipe of that name."""
        return shlex.join(["cifarlab", "train", recipe, "--run", str(self.path), "--resume"])

    def require(self) -> "RunFolder":
        """Return itself.

        Raises:
            RunFolderError: no run was started here, or another version wrote it
        """
        if not self.exists:
            what = f"{self.path} is no run folder: it has no recipe.yaml"
            raise RunFolderError(what, "name a folder that 'cifarlab train' made")
        check = schemas.make_folder_check(self.path)
        if files.read_json(self.format_file, _RESTORE, check) is None:
            check({})
        return self

    def weights(self, checkpoint: str) -> Path:
        """Return the path of the weights of the ``last`` or the ``best`` checkpoint."""
        return self.checkpoints / f"{checkpoint}.safetensors"

    def measured_weights(self, checkpoint: str | None = None) -> Path:
        """Return the path of the recipe's checkpoint, or of another one by its name.

        Raises:
            CheckpointError: the run's result was measured on another file
        """
        name = checkpoint or self.recipe().evaluation.checkpoint
        path, checksums = self.weights(name), (self.result() or {}).get("weights_sha256")
        expected = checksums.get(name) if isinstance(checksums, dict) else None
        if expected and path.is_file() and files.sha256(path) != expected:
            recipe_path = shlex.quote(str(self.recipe_file))
            raise CheckpointError(
                f"{path} is not the file that the run's result was measured on: it was changed",
                f"restore it, or make it anew: cifarlab train {recipe_path} --run ANOTHER_FOLDER",
            )
        return path

    def has_same_data(self, fingerprint: str) -> bool:
        """Return whether the run was trained on images of this fingerprint, or does not say."""
        own_fingerprint = self.provenance().get("data", {}).get("fingerprint")
        return own_fingerprint in (None, fingerprint)

    def require_same_data(self, fingerprint: str) -> None:
        """Refuse images of another fingerprint than those of the run.

        Raises:
            RunFolderError: the run was trained on others
        """
        if not self.has_same_data(fingerprint):
            what = f"the images are not those that {self.path} was trained on"
            raise RunFolderError(what, "restore them, or start a new run")

    def recipe(self) -> "Recipe":
        """Return the run's recipe.

        Raises:
            RunFolderError: this is no run folder
            RecipeError: its recipe is damaged
            PluginError: a plug-in of it is missing, not approved or fails
        """
        from cifarlab.recipes.text import from_yaml

        self.require()
        return from_yaml(self.recipe_file)

    def write_recipe(self, recipe: "Recipe") -> None:
        """Start the folder: write its format, what the recipe names by a file, and last itself.

        Raises:
            StorageError: the disk refused
        """
        from cifarlab.config.plugins import copy_plugins
        from cifarlab.recipes.text import to_yaml

        files.write_json(self.format_file, {"format": schemas.FORMAT})
        copy_plugins(recipe.plugins, self.path)
        data = recipe.data.model_copy(update={"sampler": recipe.data.sampler.store(self.path)})
        files.write_text(self.recipe_file, to_yaml(recipe.model_copy(update={"data": data})))

    def provenance(self) -> dict[str, Any]:
        """Return provenance.json: how the run was made; empty before it starts."""
        check = schemas.make_check(schemas.Provenance)
        return files.read_json(self.provenance_file, _RESTORE, check) or {}

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        """Replace provenance.json."""
        files.write_json(self.provenance_file, provenance)

    def result(self) -> dict[str, Any] | None:
        """Return the result of a finished run, None of an unfinished one."""
        return files.read_json(self.result_file, _RESTORE, schemas.make_check(schemas.Result))

    def temperature(self) -> float | None:
        """Return the temperature fitted on validation, above 0; None where the result has none."""
        value = ((self.result() or {}).get("temperature") or {}).get("value")
        if isinstance(value, int | float) and math.isfinite(value) and value > 0:
            return float(value)
        return None

    def write_result(self, result: dict[str, Any]) -> None:
        """Write result.json, which finishes the run."""
        files.write_json(self.result_file, result)

    def logged_ids(self) -> dict[str, str]:
        """Return the ids by which loggers know the run, by their kind; empty before one logged."""
        check = schemas.make_check(schemas.LoggedIds)
        content = files.read_json(self.logged_file, _RESTORE, check) or {}
        return dict(content.get("ids", {}))

    def write_logged_ids(self, ids: dict[str, str]) -> None:
        """Replace logged.json."""
        files.write_json(self.logged_file, {"ids": ids})

    def evaluation(self, split: str) -> dict[str, Any] | None:
        """Return what ``evaluate --full`` measured on that split, None before."""
        return files.read_json(self.evaluations / f"{split}.json", _RESTORE)

    def write_evaluation(self, split: str, evaluation: dict[str, Any]) -> None:
        """Replace what ``evaluate --full`` measured on that split."""
        files.write_json(self.evaluations / f"{split}.json", evaluation)

    @contextmanager
    def lock(
        self, hint: str = "wait for it or end it, or give another folder with --run"
    ) -> Iterator[None]:
        """Hold the folder for this process while the block runs; ``hint`` is the error's.

        Raises:
            RunFolderError: another process holds it
            StorageError: it can't be made
        """
        what = f"{self.path} is in use by another process"
        with files.lock_folder(self.path, RunFolderError(what, hint)):
            files.remove_leftovers(self.path)
            try:
                yield
            finally:
                if self.is_vacant:  # it failed before it began: leave no empty folder behind
                    with suppress(OSError):
                        (self.path / ".lock").unlink()
                        self.format_file.unlink(missing_ok=True)
                        self.path.rmdir()


def describe_early_end(result: dict[str, Any]) -> str:
    """Return how a run was ended early by what its recipe does not decide; empty for any other.

    The planned length and early stopping follow from the recipe. A time limit does not: the
    machine's speed decides; nor does a search, which stops a run because others are better.
    """
    how, epochs = _EARLY_ENDS.get(str(result.get("stop_reason"))), result.get("epochs")
    return f"{how} after {epochs} epoch{'' if epochs == 1 else 's'}" if how else ""
