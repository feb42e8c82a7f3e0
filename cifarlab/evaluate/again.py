"""Measure a run anew: the same weights, data, splits and preprocessing as when it was measured."""

from typing import Any, get_args

from cifarlab.data import open_dataset, training_subsets
from cifarlab.data.dataset import Progress
from cifarlab.errors import DataError, RecipeError, RunFolderError
from cifarlab.evaluate.measure import measure, predict
from cifarlab.evaluate.predictor import Predictor
from cifarlab.evaluate.test_split import open_test_split
from cifarlab.recipe.schema import Evaluation
from cifarlab.run import RunFolder

_VIEWS = get_args(Evaluation.model_fields["views"].annotation)


def evaluate_run(
    folder: RunFolder,
    split: str = "val",
    views: int | None = None,
    *,
    command: str = "cifarlab.evaluate.evaluate_run",
    progress: Progress | None = None,
) -> tuple[dict[str, Any], str]:
    """The measurement of one split (see ``measure``) and the data's name; changes no result.

    ``views`` defaults to the recipe's; who gets them is always as in the recipe (``unsure``). The
    test split is opened for finished runs only, and the opening is recorded. Raises RecipeError,
    RunFolderError, DataError or CheckpointError.
    """
    recipe = folder.recipe()
    views = recipe.evaluation.views if views is None else views
    if split not in ("val", "test") or views not in _VIEWS:
        raise RecipeError(
            f"can't evaluate split {split!r} with {views} views",
            f"--split is val or test, --views one of {', '.join(map(str, _VIEWS))}",
        )
    if split == "test" and not folder.finished:
        raise RunFolderError(
            f"the run in {folder.path} has not finished; its test split stays closed until then",
            "finish it with 'cifarlab train ... --resume', or evaluate --split val",
        )
    predictor = Predictor.load(folder.weights(recipe.evaluation.checkpoint))
    dataset = open_dataset(
        recipe.data.source,
        labels=recipe.data.labels,
        images=recipe.data.images,
        progress=progress,
    )
    folder.require_same_data(dataset.fingerprint)
    if split == "test":
        with folder.in_use():  # two at once would lose one of the records
            subset = open_test_split(dataset, recipe.data, folder, "evaluate", command)
    else:
        _, held_out = training_subsets(dataset, recipe.data)
        if held_out is None:
            raise DataError(
                f"the run in {folder.path} held nothing out: data.validation is 0",
                "evaluate --split test, or train with a validation share",
            )
        subset = held_out
    return measure(predict(predictor, subset, views, recipe.evaluation.unsure)), dataset.name
