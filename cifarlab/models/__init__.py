"""Networks by the recipe's ``model`` part, for images of 8 to 96 pixels and 1 or 3 channels."""

from collections.abc import Callable

import torch
from torch import nn

from cifarlab.models.classifier import Classifier
from cifarlab.models.convnet import classic_cnn, tutorial_cnn
from cifarlab.models.layers import adapt_to_passes, dirac_
from cifarlab.models.residual import ResidualNet
from cifarlab.models.roles import Role, parameter_roles
from cifarlab.models.speed import SpeedNet
from cifarlab.models.stages import stages
from cifarlab.models.whitening import whitening_images
from cifarlab.recipe.networks import Model

__all__ = [
    "Classifier",
    "Role",
    "adapt_to_passes",
    "build_body",
    "parameter_count",
    "parameter_roles",
    "stages",
    "whitening_images",
]

_KINDS: dict[str, Callable[..., nn.Module]] = {
    "residual": ResidualNet,
    "tutorial_cnn": tutorial_cnn,
    "classic_cnn": classic_cnn,
    "speed": SpeedNet,
}


def build_body(model: Model, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network (N, C, H, W) -> (N, K), initialised from torch's global generator.

    ``image_shape`` is (H, W, C), ``classes`` is K.
    """
    body = _KINDS[model.kind](model, image_shape, classes)
    return body.apply(dirac_) if model.initialisation == "dirac" else body


def parameter_count(
    model: Model, image_shape: tuple[int, int, int] = (32, 32, 3), classes: int = 10
) -> int:
    """Trainable parameters, without allocating them."""
    with torch.device("meta"):
        body = build_body(model, image_shape, classes)
    return sum(p.numel() for p in body.parameters() if p.requires_grad)
