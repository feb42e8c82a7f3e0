"""Measures a run again: the same weights, data, splits and preprocessing as at its end."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.dataset import Dataset, Log, Progress, Subset
from cifarlab.data.opening import open_data
from cifarlab.evaluation.groups import Groups, read_groups
from cifarlab.evaluation.measure import VIEW_NAMES, compare_tta, measure, predict
from cifarlab.evaluation.sets import measure_sets
from cifarlab.evaluation.shift import measure_ood, measure_shift
from cifarlab.evaluation.test_split import open_test_split
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import calibrate_sets, load_run_predictor
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.metrics.conformal import Conformal
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import DataError, RecipeError, RunFolderError, UserError

OOD_SOURCE = "digits"  # there without a download, and like no photograph


class OpenSplit(NamedTuple):
    """A run with its network, the images of one split, and groups of its classes, if any.

    ``conformal`` has the threshold of sets of classes, where these are measured, too.
    """

    folder: RunFolder
    recipe: Recipe
    predictor: Predictor
    dataset: Dataset
    subset: Subset
    groups: Groups | None
    conformal: Conformal | None = None

    def measure(self, views: int | None = None) -> dict[str, Any]:
        """Measure the split (see ``measure``) in so many views, None: the recipe's.

        Also at the temperature of the result, which holds for the recipe's views alone. With
        ``conformal`` the result has ``sets`` (see ``measure_sets``).
        """
        recipe_views = self.recipe.evaluation.tta_views
        temperature = self.folder.temperature() if views in (None, recipe_views) else None
        predictions = predict(self.predictor, self.subset, views or recipe_views)
        result = measure(predictions, temperature, self.groups, self.recipe.metrics)
        if self.conformal:
            probabilities = scaled_softmax(predictions.logits, temperature or 1.0)
            examples = predictions.labels, predictions.classes
            result["sets"] = measure_sets(self.conformal, probabilities, *examples)
        return result


def evaluate_run(
    folder: RunFolder,
    split: str = "val",
    tta_views: int | None = None,
    groups: Path | None = None,
    coverage: float | None = None,
    *,
    command: str = "cifarlab.evaluate",
    progress: Progress | None = None,
    log: Log | None = None,
) -> tuple[dict[str, Any], str]:
    """Return the measurement of one split (see ``measure``) and the data's name; change no result.

    Args:
        folder: of the run
        split: val or test
        tta_views: test-time views, 1, 2, 6 or 10; None: the recipe's. The run's threshold decides
            in any case which images get them.
        groups: a YAML file (see ``read_groups``)
        coverage: as in ``open_split``
        command: recorded where the test split is opened
        progress: called while data are downloaded and read
        log: called with a line that describes the data

    Raises:
        CifarlabError: as ``open_split`` does
    """
    run = open_split(folder, split, "evaluate", command, progress, groups, log, tta_views, coverage)
    return run.measure(tta_views), run.dataset.name


def evaluate_fully(
    folder: RunFolder,
    split: str = "val",
    groups: Path | None = None,
    ood: str | None = None,
    n_images: int | None = None,
    coverage: float | None = None,
    *,
    command: str = "cifarlab.evaluation.run_evaluation.evaluate_fully",
    progress: Progress | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Evaluate a run in every way, store the result in ``evaluation/<split>.json`` and return it.

    The test split is opened once for all of it, and the opening is recorded.

    Args:
        folder: of the run
        split: val or test
        groups: a YAML file (see ``read_groups``)
        ood: source of out-of-distribution images; None: the digits, if the run is on other data
        n_images: how many images are corrupted; None: all
        coverage: as in ``open_split``
        command: stored in the result, and recorded where the test split is opened
        progress: called while data are read and images are corrupted
        log: called with a line that describes the data

    Returns:
        ``data``, ``split``, ``command``, ``time``, ``measured`` (see ``measure``), ``tta`` (see
        ``compare_tta``), ``shift`` (see ``measure_shift``), ``ood`` (see ``measure_ood``, or None)
        and ``cost``.

    Raises:
        CifarlabError: as ``open_split`` and ``measure_ood`` do
    """
    start = time.perf_counter()
    run = open_split(folder, split, "evaluate", command, progress, groups, log, coverage=coverage)
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
        "shift": measure_shift(run.predictor, run.subset, n_images, progress),
        "ood": ood_result,
        "cost": {"seconds": time.perf_counter() - start},
    }
    folder.require().write_evaluation(split, evaluation)
    return evaluation


def open_split(
    folder: RunFolder,
    split: str,
    opener: str,
    command: str,
    progress: Progress | None,
    groups: Path | None = None,
    log: Log | None = None,
    views: int | None = None,
    coverage: float | None = None,
) -> OpenSplit:
    """Open a run's network and the images of one split, as training split them.

    The test split is opened for finished runs only, after ``groups`` was read, and the opening is
    recorded.

    Args:
        folder: of the run
        split: val or test
        opener: as in ``open_test_split``
        command: as in ``open_test_split``
        progress: called while data are downloaded and read
        groups: a YAML file (see ``read_groups``)
        log: called with a line that describes the data
        views: as in ``load_run_predictor``
        coverage: that of sets of classes, which are calibrated on the validation images and so are
            measured on the test split alone, in the recipe's views; None: no sets

    Raises:
        RunFolderError: there is no run, it has not finished (test), or its data are others
        DataError: the data can't be opened, or the run held nothing out (val)
        CheckpointError: the weights can't be read, or views need a threshold that is not known yet
        RecipeError: there is no such split or number of views, or ``groups`` is wrong
        UserError: sets can't be measured there, or their coverage is not between 0 and 1
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
    conformal = _calibrate(folder, split, views, coverage)
    predictor = load_run_predictor(folder, views, "; evaluate --tta-views 1 works without")
    class_groups = read_groups(groups, predictor.classes) if groups else None
    data = open_data(recipe.data, progress, log)
    dataset, subset = data.dataset, data.validation
    folder.require_same_data(dataset.fingerprint)
    if split == "test":
        with folder.lock():  # two at once would lose one of the records
            folder.require()  # it may have been deleted since
            subset = open_test_split(dataset, recipe.data, folder, opener, command)
    if subset is None:
        what = f"the run in {folder.path} held nothing out: data.val_fraction is 0"
        raise DataError(what, "evaluate --split test, or train with data.val_fraction")
    return OpenSplit(folder, recipe, predictor, dataset, subset, class_groups, conformal)


def _calibrate(
    folder: RunFolder, split: str, views: int | None, coverage: float | None
) -> Conformal | None:
    """Return the threshold of sets that can be measured there. Raises UserError."""
    if coverage is None:
        return None
    if split != "test" or views not in (None, folder.recipe().evaluation.tta_views):
        what = "sets are calibrated on the validation images, in the recipe's views"
        raise UserError(what, "measure them with --split test, and without --tta-views")
    return calibrate_sets(folder, coverage)
