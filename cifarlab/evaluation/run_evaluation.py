"""Measure a run anew: the same weights, data, splits and preprocessing as when it was measured."""

from pathlib import Path
from typing import Any, NamedTuple, get_args

from cifarlab.data.dataset import Dataset, Log, Progress, Subset
from cifarlab.data.opening import open_data
from cifarlab.evaluation.groups import Groups, read_groups
from cifarlab.evaluation.measure import measure, predict
from cifarlab.evaluation.test_split import open_test_split
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.recipes.schema import Evaluation, Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import DataError, RecipeError, RunFolderError

VIEWS = get_args(Evaluation.model_fields["tta_views"].annotation)


class OpenSplit(NamedTuple):
    """A run with its network, the images of one split, and groups of its classes if given."""

    recipe: Recipe
    predictor: Predictor
    dataset: Dataset
    subset: Subset
    groups: Groups | None


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
    ``groups`` is a YAML file (see ``read_groups``); ``log`` gets what the data are. The test
    split is opened for finished runs only, and the opening is recorded. Raises RecipeError,
    RunFolderError, DataError or CheckpointError.
    """
    require_views(folder, split, views)
    run = open_split(folder, split, "evaluate", command, progress, groups, log, views)
    return measure_open_split(folder, run, views), run.dataset.name


def require_views(folder: RunFolder, split: str, views: int | None) -> None:
    """Raise RecipeError for a split or a number of views that there is not."""
    folder.require()
    if split not in ("val", "test") or views not in (None, *VIEWS):
        raise RecipeError(
            f"can't evaluate split {split!r} with {views} views",
            f"--split is val or test, --tta-views one of {', '.join(map(str, VIEWS))}",
        )


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

    ``views`` as in ``load_run_predictor``.

    The test split is opened for finished runs only, after ``groups`` was read, and the opening is
    recorded. Raises RunFolderError, DataError, CheckpointError or RecipeError.
    """
    recipe = folder.recipe()
    if split == "test" and not folder.finished:
        raise RunFolderError(
            f"the run in {folder.path} has not finished; its test split stays closed until then",
            "finish it with 'cifarlab train ... --resume', or evaluate --split val",
        )
    predictor = load_run_predictor(folder, views, "; evaluate --tta-views 1 works without")
    class_groups = read_groups(groups, predictor.classes) if groups else None
    opened = open_data(recipe.data, progress, log)
    dataset = opened.dataset
    folder.require_same_data(dataset.fingerprint)
    if split == "test":
        with folder.in_use():  # two at once would lose one of the records
            subset = open_test_split(dataset, recipe.data, folder, by, command)
        return OpenSplit(recipe, predictor, dataset, subset, class_groups)
    if opened.validation is None:
        raise DataError(
            f"the run in {folder.path} held nothing out: data.val_fraction is 0",
            "evaluate --split test, or train with a validation share",
        )
    return OpenSplit(recipe, predictor, dataset, opened.validation, class_groups)


def measure_open_split(folder: RunFolder, run: OpenSplit, views: int | None) -> dict[str, Any]:
    """Measure an open split, as ``evaluate_run`` does.

    Also at the temperature of the result, which holds for the recipe's views alone.
    """
    recipe_views = run.recipe.evaluation.tta_views
    same_views = views in (None, recipe_views)
    predictions = predict(run.predictor, run.subset, recipe_views if views is None else views)
    temperature = folder.temperature() if same_views else None
    return measure(predictions, temperature, run.groups, run.recipe.metrics)
