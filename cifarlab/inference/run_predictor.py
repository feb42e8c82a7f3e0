"""Predicts images as a run was measured: its checkpoint, its preprocessing, its views."""

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
    folder: RunFolder, views: int | None = None, more_hint: str = ""
) -> Predictor:
    """Load the predictor that a run is measured with.

    Args:
        folder: of the run
        views: how many test-time views are needed; None: the recipe's
        more_hint: what else works while it is not known which images get further views; goes into
            that error's hint

    Raises:
        RunFolderError: there is no run
        RecipeError: the run's recipe can't be read
        CheckpointError: the weights were changed, or the run has no threshold for further views
    """
    evaluation = folder.recipe().evaluation
    predictor = Predictor.load(folder.measured_weights())
    has_further_views = (evaluation.tta_views if views is None else views) > 1
    if has_further_views and evaluation.tta_fraction < 1 and predictor.tta_threshold is None:
        what = f"the run in {folder.path} has no confidence threshold yet"
        hint = f"finish it with --resume{more_hint}"
        raise CheckpointError(f"{what}, which says what images get further views", hint)
    return predictor


class ClassProbabilities(NamedTuple):
    """Class probabilities of each image.

    ``probabilities`` are float64 (N, K), at the ``temperature`` that was fitted on the validation
    images; where the run held none out, that is None, and they are at temperature 1.
    """

    ids: list[str]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    temperature: float | None


class RunPredictor:
    """A run's network, ready to predict images of any size."""

    def __init__(self, folder: RunFolder, resize_mode: str | None = None) -> None:
        """Load the network of a run.

        Args:
            folder: of the run
            resize_mode: how images are brought to the run's size: crop, pad or stretch; None: as
                the recipe says

        Raises:
            RunFolderError: there is no run
            RecipeError: the run's recipe can't be read
            CheckpointError: as ``load_run_predictor``
            UserError: there is no such ``resize_mode``
        """
        recipe = folder.recipe()
        self.evaluation = recipe.evaluation
        self.predictor = load_run_predictor(folder)
        self.policy = input_policy(recipe.data.images, self.predictor.image_shape, resize_mode)
        self.temperature = folder.temperature()

    def read(self, images: np.ndarray | Sequence[Path | str]) -> Inputs:
        """Read images as ``array_inputs`` or ``read_inputs`` does.

        Raises:
            DataError: an image can't be read, or an array has another shape, type or size
        """
        if isinstance(images, np.ndarray):
            return array_inputs(images, self.policy)
        return read_inputs(images, self.policy)

    def predict(self, inputs: Inputs) -> ClassProbabilities:
        """Return the probabilities of each image."""
        logits = self.predictor.logits(inputs.images, self.evaluation.tta_views)
        probabilities = scaled_softmax(logits.numpy(), self.temperature or 1.0)
        classes = self.predictor.classes
        return ClassProbabilities(inputs.ids, classes, probabilities, self.temperature)


def predict_images(
    folder: RunFolder, images: np.ndarray | Sequence[Path | str], resize_mode: str | None = None
) -> ClassProbabilities:
    """Predict images.

    Args:
        folder: of the run
        images: files, folders, archives and pickles (see ``read_inputs``), or an array uint8
            (N, H, W[, C])
        resize_mode: as in ``RunPredictor``

    Raises:
        UserError: as ``RunPredictor`` and ``read_inputs`` do
    """
    run_predictor = RunPredictor(folder, resize_mode)
    return run_predictor.predict(run_predictor.read(images))
