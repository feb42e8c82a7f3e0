"""Predicts images as a run was measured: its checkpoint, its preprocessing, its views."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.inference.inputs import Inputs, array_inputs, input_policy, read_inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.metrics.conformal import Conformal, calibrate
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.errors import CheckpointError, DataError


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
    images; where the run held none out, that is None, and they are at temperature 1. ``conformal``
    has the threshold of the sets, where these were asked for.
    """

    ids: list[str]
    classes: tuple[str, ...]
    probabilities: np.ndarray
    temperature: float | None
    conformal: Conformal | None = None

    def sets(self) -> list[list[str]] | None:
        """Return each image's set of classes, the likeliest first; None where none were asked."""
        if self.conformal is None:
            return None
        order = np.argsort(-self.probabilities, axis=1, kind="stable")
        members = np.take_along_axis(self.conformal.sets(self.probabilities), order, axis=1)
        rows = zip(order, members, strict=True)
        return [[self.classes[k] for k in row[in_set]] for row, in_set in rows]


def calibrate_sets(folder: RunFolder, coverage: float) -> Conformal:
    """Find the threshold of conformal sets on a run's validation images, as its result has them.

    Args:
        folder: of the run
        coverage: the fraction of images whose set has their true class, between 0 and 1

    Raises:
        DataError: the run has no measured validation images, or too few
        UserError: the coverage is not between 0 and 1
        RunFolderError: the predictions of the validation images are missing or damaged
    """
    result = folder.require().result()
    if result is None:
        what = f"the run in {folder.path} has not finished: nothing calibrates its sets"
        raise DataError(what, "finish it with 'cifarlab train ... --resume'")
    if not result.get("val"):
        raise DataError(
            f"the run in {folder.path} held nothing out, and sets are calibrated on images that it "
            "was not trained on",
            "train with data.val_fraction=0.1, or leave out --coverage",
        )
    return calibrate(*read_validation(folder), coverage)


def read_validation(folder: RunFolder) -> tuple[np.ndarray, np.ndarray]:
    """Return the probabilities (N, K) and labels (N,) of a run's measured validation images.

    Raises:
        RunFolderError: they are missing or damaged
    """
    predictions = Predictions.read(folder.predictions / "val.safetensors")
    return scaled_softmax(predictions.logits, folder.temperature() or 1.0), predictions.labels


class RunPredictor:
    """A run's network, ready to predict images of any size."""

    def __init__(
        self, folder: RunFolder, resize_mode: str | None = None, coverage: float | None = None
    ) -> None:
        """Load the network of a run.

        Args:
            folder: of the run
            resize_mode: how images are brought to the run's size: crop, pad or stretch; None: as
                the recipe says
            coverage: of each image's set of classes, see ``calibrate_sets``; None: no sets

        Raises:
            RunFolderError: there is no run
            RecipeError: the run's recipe can't be read
            CheckpointError: as ``load_run_predictor``
            UserError: there is no such ``resize_mode``, or the coverage is not between 0 and 1
            DataError: as ``calibrate_sets``
        """
        recipe = folder.recipe()
        self.evaluation = recipe.evaluation
        self.predictor = load_run_predictor(folder)
        self.policy = input_policy(recipe.data.images, self.predictor.image_shape, resize_mode)
        self.temperature = folder.temperature()
        self.conformal = None if coverage is None else calibrate_sets(folder, coverage)

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
        calibration = self.temperature, self.conformal
        return ClassProbabilities(inputs.ids, self.predictor.classes, probabilities, *calibration)


def predict_images(
    folder: RunFolder,
    images: np.ndarray | Sequence[Path | str],
    resize_mode: str | None = None,
    coverage: float | None = None,
) -> ClassProbabilities:
    """Predict images.

    Args:
        folder: of the run
        images: files, folders, archives and pickles (see ``read_inputs``), or an array uint8
            (N, H, W[, C])
        resize_mode: as in ``RunPredictor``
        coverage: as in ``RunPredictor``

    Raises:
        UserError: as ``RunPredictor`` and ``read_inputs`` do
    """
    run_predictor = RunPredictor(folder, resize_mode, coverage)
    return run_predictor.predict(run_predictor.read(images))
