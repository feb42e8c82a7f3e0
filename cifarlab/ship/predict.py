"""Predict images as a run was measured: its checkpoint, its preprocessing, its views."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.evaluate import measured_predictor
from cifarlab.evaluate.calibration import probabilities
from cifarlab.run import RunFolder
from cifarlab.ship.inputs import Inputs, input_policy, read_inputs


class Answers(NamedTuple):
    """What the network says of each image.

    ``shares`` float64 (N, K) are probabilities at the ``temperature`` that was fitted on the
    validation images, None where the run held none out: they are as trained then.
    """

    ids: list[str]
    classes: tuple[str, ...]
    shares: np.ndarray
    temperature: float | None


class Oracle:
    """A run's network, ready to predict images of any size."""

    def __init__(self, folder: RunFolder, fit: str | None = None) -> None:
        """``fit`` (crop, pad, stretch) brings images to the run's size, by default as its recipe.

        Raises RunFolderError, RecipeError or CheckpointError, UserError for another ``fit``.
        """
        recipe = folder.recipe()
        self.evaluation = recipe.evaluation
        self.predictor = measured_predictor(folder)
        self.policy = input_policy(recipe.data.images, self.predictor.image_shape, fit)
        self.temperature = folder.temperature()

    def read(self, paths: Sequence[Path | str]) -> Inputs:
        """The images of these paths, as the network takes them. Raises DataError."""
        return read_inputs(paths, self.policy)

    def answers(self, inputs: Inputs) -> Answers:
        """Probabilities of each image."""
        logits = self.predictor.logits(inputs.images, self.evaluation.views)
        shares = probabilities(logits.numpy(), self.temperature or 1.0)
        return Answers(inputs.ids, self.predictor.classes, shares, self.temperature)


def predict_paths(
    folder: RunFolder, paths: Sequence[Path | str], fit: str | None = None
) -> Answers:
    """What a run's network says of files, folders, archives and pickles (see ``read_inputs``).

    Raises RunFolderError, RecipeError, CheckpointError or DataError.
    """
    oracle = Oracle(folder, fit)
    return oracle.answers(oracle.read(paths))
