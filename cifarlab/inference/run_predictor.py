"""Predict images as a run was measured: its checkpoint, its preprocessing, its views."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.inference.inputs import Inputs, array_inputs, input_policy, read_inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError


def load_run_predictor(
    folder: RunFolder, views: int | None = None, otherwise: str = ""
) -> Predictor:
    """Load the predictor that a run is measured with, for that many views or the recipe's.

    ``otherwise`` says what works while it is not known which images get further views. Raises
    RunFolderError, RecipeError, and CheckpointError for that, or where the weights were changed.
    """
    evaluation = folder.recipe().evaluation
    predictor = Predictor.load(folder.measured_weights())
    has_further_views = (evaluation.tta_views if views is None else views) > 1
    if has_further_views and evaluation.tta_fraction < 1 and predictor.tta_threshold is None:
        what = f"the run in {folder.path} has no confidence threshold yet"
        hint = f"finish it with --resume{otherwise}"
        raise CheckpointError(f"{what}, which says what images get further views", hint)
    return predictor


class ClassProbabilities(NamedTuple):
    """Class probabilities of each image.

    ``probabilities`` float64 (N, K) are probabilities at the ``temperature`` that was fitted on the
    validation images, None where the run held none out: they are as trained then.
    """

    ids: list[str]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    temperature: float | None


class RunPredictor:
    """A run's network, ready to predict images of any size."""

    def __init__(self, folder: RunFolder, resize_mode: str | None = None) -> None:
        """``resize_mode`` (crop, pad, stretch) brings images to the run's size; None: the recipe's.

        Raises RunFolderError, RecipeError or CheckpointError, UserError for another
        ``resize_mode``.
        """
        recipe = folder.recipe()
        self.evaluation = recipe.evaluation
        self.predictor = load_run_predictor(folder)
        self.policy = input_policy(recipe.data.images, self.predictor.image_shape, resize_mode)
        self.temperature = folder.temperature()

    def read(self, paths: Sequence[Path | str]) -> Inputs:
        """Read the images of these paths, as the network takes them. Raises DataError."""
        return read_inputs(paths, self.policy)

    def take(self, images: np.ndarray) -> Inputs:
        """Take images uint8 (N, H, W, C) or (N, H, W) as the network does. Raises DataError."""
        return array_inputs(images, self.policy)

    def predict(self, inputs: Inputs) -> ClassProbabilities:
        """Return the probabilities of each image."""
        logits = self.predictor.logits(inputs.images, self.evaluation.tta_views)
        probabilities = scaled_softmax(logits.numpy(), self.temperature or 1.0)
        classes = self.predictor.classes
        return ClassProbabilities(inputs.ids, classes, probabilities, self.temperature)


def predict_paths(
    folder: RunFolder, paths: Sequence[Path | str], resize_mode: str | None = None
) -> ClassProbabilities:
    """Predict files, folders, archives and pickles (see ``read_inputs``).

    Raises RunFolderError, RecipeError, CheckpointError or DataError.
    """
    run_predictor = RunPredictor(folder, resize_mode)
    return run_predictor.predict(run_predictor.read(paths))
