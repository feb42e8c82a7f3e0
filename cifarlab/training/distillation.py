"""A teacher: a trained run whose probabilities are a part of the target (Hinton et al. 2015).

The teacher sees the images that the student sees, augmented and mixed (Beyer et al. 2022). The loss
is ``(1 - weight) * loss + weight * T**2 * KL(teacher || student)``, of both softmaxes at the
temperature T; T**2 keeps the size of the second part's gradients.
"""

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from cifarlab.data.opening import OpenData
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.models.configs import ModelConfig
from cifarlab.recipes.schema import Distillation, Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, RecipeError
from cifarlab.system.files import sha256


class Teacher:
    """A trained network and how much it counts."""

    def __init__(self, predictor: Predictor, settings: Distillation) -> None:
        self._predictor, self._settings = predictor, settings

    def blend(self, loss: Tensor, logits: Tensor, images: Tensor) -> Tensor:
        """Return the loss with the teacher's part.

        Args:
            loss: the mean of the images, by their labels
            logits: the student's, (N, K)
            images: (N, H, W, C), as the student sees them
        """
        temperature, weight = self._settings.temperature, self._settings.weight
        with torch.no_grad(), self._predictor.evaluating() as teacher:
            target = (teacher(images) / temperature).log_softmax(1)
        student = (logits.float() / temperature).log_softmax(1)
        soft = kl_div(student, target, reduction="batchmean", log_target=True)
        return (1 - weight) * loss + weight * temperature**2 * soft


def load_teacher(recipe: Recipe, data: OpenData) -> Teacher | None:
    """Return the teacher of a recipe; None where it has none.

    Args:
        recipe: the student's
        data: the student's images

    Raises:
        RecipeError: the teacher is of other classes or sizes, or was trained on images
            that judge the student
        CheckpointError: its weights are others than the recipe says
        RunFolderError: it is no run
    """
    settings = recipe.training.distillation
    if settings is None:
        return None
    folder = RunFolder(Path(settings.teacher))
    predictor = load_run_predictor(folder, views=1)
    digest = sha256(folder.measured_weights())
    if digest != settings.weights_sha256:
        what = f"the weights of the teacher {folder.path} are not those that the recipe names"
        hint = f"restore them, or set training.distillation.weights_sha256={digest}"
        raise CheckpointError(what, hint)
    what = f"training.distillation.teacher={folder.path}: "
    dataset = data.dataset
    if (predictor.classes, predictor.image_shape) != (dataset.classes, dataset.image_shape):
        raise RecipeError(f"{what}it was trained on other classes or sizes", "take another")
    folder.require_same_data(dataset.fingerprint)
    theirs = OpenData(dataset, folder.recipe().data)
    reason = "so that it was trained on some of them"
    if data.validation is not None and not data.has_same_validation(theirs):
        raise RecipeError(
            f"{what}it held out other images than this run, {reason}",
            "take a teacher with the same data.val_fraction and data.split_seed",
        )
    if not data.has_same_test(theirs):
        raise RecipeError(
            f"{what}it cut off other test images than this run, {reason}",
            "take a teacher with the same data.test_fraction and data.split_seed",
        )
    if recipe.augment.progressive_resize and not all(m.any_image_size for m in _models(folder)):
        raise RecipeError(
            f"{what}it takes images of one size alone", "leave out augment.progressive_resize"
        )
    return Teacher(predictor, settings)


def _models(folder: RunFolder) -> tuple[ModelConfig, ...]:
    recipe = folder.recipe()
    return recipe.model, *recipe.other_models
