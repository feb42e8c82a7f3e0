"""Measure a run anew: the same weights, data, splits and preprocessing as when it was measured."""

from pathlib import Path
from typing import Any, NamedTuple, get_args

from cifarlab.data import Dataset, Subset, open_data, training_subsets
from cifarlab.data.dataset import Progress, Tell
from cifarlab.errors import CheckpointError, DataError, RecipeError, RunFolderError
from cifarlab.evaluate.groups import Groups, read_groups
from cifarlab.evaluate.measure import measure, predict
from cifarlab.evaluate.predictor import Predictor
from cifarlab.evaluate.test_split import open_test_split
from cifarlab.recipe import Recipe
from cifarlab.recipe.schema import Evaluation
from cifarlab.run import RunFolder

VIEWS = get_args(Evaluation.model_fields["views"].annotation)


class Opened(NamedTuple):
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
    command: str = "cifarlab.evaluate.evaluate_run",
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> tuple[dict[str, Any], str]:
    """The measurement of one split (see ``measure``) and the data's name; changes no result.

    ``views`` defaults to the recipe's; which images get them is always as the run has it.
    ``groups`` is a YAML file (see ``read_groups``); ``tell`` gets what the data are. The test
    split is opened for finished runs only, and the opening is recorded. Raises RecipeError,
    RunFolderError, DataError or CheckpointError.
    """
    require_views(folder, split, views)
    run = open_split(folder, split, "evaluate", command, progress, groups, tell, views)
    return measured(folder, run, views), run.dataset.name


def require_views(folder: RunFolder, split: str, views: int | None) -> None:
    """Raise RecipeError for a split or a number of views that there is not."""
    folder.require()
    if split not in ("val", "test") or views not in (None, *VIEWS):
        raise RecipeError(
            f"can't evaluate split {split!r} with {views} views",
            f"--split is val or test, --views one of {', '.join(map(str, VIEWS))}",
        )


def measured_predictor(folder: RunFolder, views: int | None = None) -> Predictor:
    """Load the predictor that a run is measured with, for that many views or the recipe's.

    Raises RunFolderError, RecipeError, and CheckpointError where the weights were changed or don't
    say yet which images get further views.
    """
    evaluation = folder.recipe().evaluation
    predictor = Predictor.load(folder.measured_weights())
    further = (evaluation.views if views is None else views) > 1
    if further and evaluation.unsure < 1 and predictor.tta_threshold is None:
        raise CheckpointError(
            f"the run in {folder.path} has no confidence threshold yet, which says what images "
            "get further views",
            "finish it with --resume; evaluate --views 1 works without",
        )
    return predictor


def open_split(
    folder: RunFolder,
    split: str,
    by: str,
    command: str,
    progress: Progress | None,
    groups: Path | None = None,
    tell: Tell | None = None,
    views: int | None = None,
) -> Opened:
    """The run's network and the images of ``val`` or ``test``, as training cut them.

    ``views`` as in ``measured_predictor``.

    The test split is opened for finished runs only, after ``groups`` was read, and the opening is
    recorded. Raises RunFolderError, DataError, CheckpointError or RecipeError.
    """
    recipe = folder.recipe()
    if split == "test" and not folder.finished:
        raise RunFolderError(
            f"the run in {folder.path} has not finished; its test split stays closed until then",
            "finish it with 'cifarlab train ... --resume', or evaluate --split val",
        )
    predictor = measured_predictor(folder, views)
    named = read_groups(groups, predictor.classes) if groups else None
    dataset = open_data(recipe.data, progress, tell)
    folder.require_same_data(dataset.fingerprint)
    if split == "test":
        with folder.in_use():  # two at once would lose one of the records
            subset = open_test_split(dataset, recipe.data, folder, by, command)
        return Opened(recipe, predictor, dataset, subset, named)
    _, held_out = training_subsets(dataset, recipe.data)
    if held_out is None:
        raise DataError(
            f"the run in {folder.path} held nothing out: data.validation is 0",
            "evaluate --split test, or train with a validation share",
        )
    return Opened(recipe, predictor, dataset, held_out, named)


def measured(folder: RunFolder, run: Opened, views: int | None) -> dict[str, Any]:
    """What ``evaluate_run`` gives, of a run that is open.

    Also at the temperature of the result, which holds for the recipe's views alone.
    """
    usual = run.recipe.evaluation.views
    fits = views in (None, usual)
    found = predict(run.predictor, run.subset, usual if views is None else views)
    return measure(found, folder.temperature() if fits else None, run.groups)
