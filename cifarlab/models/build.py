"""Networks by the recipe's ``model`` part, for images of 8 to 96 pixels and 1 or 3 channels."""

from collections.abc import Callable

import torch
from torch import nn

from cifarlab.models.airbench_modules import AirbenchNet
from cifarlab.models.classifier import Classifier
from cifarlab.models.cnn_modules import ConvNet
from cifarlab.models.configs import Model
from cifarlab.models.distributed_layers import distribute_layers, set_batch_position
from cifarlab.models.layers import BatchNorms, batch_norms, set_passes
from cifarlab.models.resnet_modules import ResNet
from cifarlab.models.roles import Role, parameter_roles
from cifarlab.models.stages import map_layers, stages
from cifarlab.models.whitening import n_whitening_images
from cifarlab.system.errors import RecipeError

__all__ = [
    "BatchNorms",
    "Classifier",
    "Role",
    "batch_norms",
    "build_body",
    "count_parameters",
    "distribute_layers",
    "map_layers",
    "n_whitening_images",
    "parameter_roles",
    "set_batch_position",
    "set_passes",
    "stages",
]

_KINDS: dict[str, Callable[..., nn.Module]] = {
    "resnet": ResNet,
    "cnn": ConvNet,
    "airbench": AirbenchNet,
}


def build_body(model: Model, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build the network (N, C, H, W) -> (N, K), initialised from torch's global generator.

    ``image_shape`` is (H, W, C), ``classes`` is K. Raises RecipeError for a network that does not
    fit such images, or has more parameters than the recipe allows.
    """
    if model.max_parameters is not None:
        n_parameters = count_parameters(model, image_shape, classes)
        if n_parameters > model.max_parameters:
            raise RecipeError(
                f"model.max_parameters={model.max_parameters:,}: this network has {n_parameters:,}",
                "take fewer channels or blocks, or raise that limit",
            )
    return _KINDS[model.kind](model, image_shape, classes)


def count_parameters(
    model: Model, image_shape: tuple[int, int, int] = (32, 32, 3), classes: int = 10
) -> int:
    """Count the trainable parameters, without allocating them; ``max_parameters`` is not looked at."""
    with torch.device("meta"):
        body = _KINDS[model.kind](model, image_shape, classes)
    return sum(p.numel() for p in body.parameters() if p.requires_grad)
