"""Measure a run anew: the same weights, data, splits and preprocessing as when it was measured."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.dataset import Dataset, Log, Progress, Subset
from cifarlab.data.opening import open_data
from cifarlab.evaluation.groups import Groups, read_groups
from cifarlab.evaluation.measure import VIEW_NAMES, compare_tta, measure, predict
from cifarlab.evaluation.shift import measure_ood, measure_shift
from cifarlab.evaluation.test_split import open_test_split
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import DataError, RecipeError, RunFolderError

OOD_SOURCE = "digits"  # there without a download, and like no photograph


class OpenSplit(NamedTuple):
    """A run with its network, the images of one split, and groups of its classes if given."""

    folder: RunFolder
    recipe: Recipe
    predictor: Predictor
    dataset: Dataset
    subset: Subset
    groups: Groups | None

    def measure(self, views: int | None = None) -> dict[str, Any]:
        """Measure it (see ``measure``) in so many views, None: the recipe's.

        Also at the temperature of the result, which holds for the recipe's views alone.
        """
        recipe_views = self.recipe.evaluation.tta_views
        temperature = self.folder.temperature() if views in (None, recipe_views) else None
        predictions = predict(self.predictor, self.subset, views or recipe_views)
        return measure(predictions, temperature, self.groups, self.recipe.metrics)


def evaluate_run(
    folder: RunFolder,
    split: str = "val",
    views: int | None = None,
    groups: Path | None = None,
    *,
    command: str = "cifarlab.evaluation.run_evaluation.evaluate_run",
    progress: Progress | None = None,
    log: Log | None = None,
) -> tuple[dict[str, Any], str]:
    """Return the measurement of one split (see ``measure``) and the data's name; changes no result.

    ``views`` defaults to the recipe's; which images get them is always as the run has it.
    ``groups`` is a YAML file (see ``read_groups``); ``log`` gets what the data are. Raises as
    ``open_split`` does.
    """
    run = open_split(folder, split, "evaluate", command, progress, groups, log, views)
    return run.measure(views), run.dataset.name


def evaluate_fully(
    folder: RunFolder,
    split: str = "val",
    groups: Path | None = None,
    ood: str | None = None,
    images: int | None = None,
    *,
    command: str = "cifarlab.evaluation.run_evaluation.evaluate_fully",
    progress: Progress | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Evaluate a run in every way, keep it in ``evaluation/<split>.json`` and return it.

    ``data``, ``split``, ``command``, ``time``; ``measured`` (see ``measure``), ``tta`` (see
    ``compare_tta``), ``shift`` (see ``measure_shift``; on ``images`` of them), ``ood`` (see
    ``measure_ood``; null for a run on the digits where no source is named) and ``cost``.
    The test split is opened once for all of it, and the opening recorded; what is to be chosen
    is chosen on validation. Raises as ``evaluate_run`` does.
    """
    begun = time.perf_counter()
    run = open_split(folder, split, "evaluate", command, progress, groups, log)
    if ood is None and str(run.recipe.data.source) != OOD_SOURCE:
        ood = OOD_SOURCE
    # first, since a source may not be there
    ood_result = measure_ood(run.predictor, run.subset, ood, progress) if ood else None
    evaluation = {
        "data": run.dataset.name,
        "split": split,
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured": run.measure(),
        "tta": compare_tta(run.predictor, run.subset),
        "shift": measure_shift(run.predictor, run.subset, images, progress),
        "ood": ood_result,
        "cost": {"seconds": time.perf_counter() - begun},
    }
    folder.write_evaluation(split, evaluation)
    return evaluation


def open_split(
    folder: RunFolder,
    split: str,
    by: str,
    command: str,
    progress: Progress | None,
    groups: Path | None = None,
    log: Log | None = None,
    views: int | None = None,
) -> OpenSplit:
    """The run's network and the images of ``val`` or ``test``, as training cut them.

    ``views`` as in ``load_run_predictor``. The test split is opened for finished runs only, after
    ``groups`` was read, and the opening is recorded. Raises RunFolderError, DataError,
    CheckpointError or RecipeError.
    """
    folder.require()
    if split not in ("val", "test") or views not in (None, *VIEW_NAMES):
        hint = f"--split is val or test, --tta-views one of {', '.join(map(str, VIEW_NAMES))}"
        raise RecipeError(f"can't evaluate split {split!r} with {views} views", hint)
    recipe = folder.recipe()
    if split == "test" and not folder.is_finished:
        what = f"the run in {folder.path} has not finished; its test split stays closed until then"
        hint = "finish it with 'cifarlab train ... --resume', or evaluate --split val"
        raise RunFolderError(what, hint)
    predictor = load_run_predictor(folder, views, "; evaluate --tta-views 1 works without")
    class_groups = read_groups(groups, predictor.classes) if groups else None
    opened = open_data(recipe.data, progress, log)
    dataset, subset = opened.dataset, opened.validation
    folder.require_same_data(dataset.fingerprint)
    if split == "test":
        with folder.lock():  # two at once would lose one of the records
            subset = open_test_split(dataset, recipe.data, folder, by, command)
    if subset is None:
        what = f"the run in {folder.path} held nothing out: data.val_fraction is 0"
        raise DataError(what, "evaluate --split test, or train with data.val_fraction")
    return OpenSplit(folder, recipe, predictor, dataset, subset, class_groups)
