"""From a recipe's loss to the functions that training calls."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cifarlab.config.plugins import plugin_errors
from cifarlab.losses.kinds import LossConfig
from cifarlab.losses.modules import LossFunction
from cifarlab.system.errors import RecipeError


class Losses(NamedTuple):
    """The loss that training minimizes, and the one by which hard examples are selected."""

    training: LossFunction
    selection: LossFunction


def build_losses(
    config: LossConfig, classes: Sequence[str], counts: Sequence[int], device: torch.device
) -> Losses:
    """Return a recipe's losses.

    Args:
        config: the recipe's part
        classes: names of the K classes
        counts: training images of each class
        device: that of the logits
    """
    configs = (config, config.selection_loss())
    return Losses(*(build_loss(loss, classes, counts, device) for loss in configs))


def build_loss(
    config: LossConfig, classes: Sequence[str], counts: Sequence[int], device: torch.device
) -> LossFunction:
    """Return the function of a loss.

    Args:
        config: the loss
        classes: names of the K classes
        counts: training images of each class
        device: that of the logits

    Raises:
        RecipeError: where it doesn't fit these classes, or does not return a loss for each image
    """
    with plugin_errors(config):
        loss = config.build(classes, counts)
        if isinstance(loss, nn.Module):
            loss = loss.to(device)
        logits = torch.zeros(3, len(classes), device=device)
        shape = loss(logits, torch.zeros(3, dtype=torch.int64, device=device)).shape
    if shape != (3,):
        what = f"loss.kind={config.kind} gives a tensor of shape {tuple(shape)} for 3 images"
        raise RecipeError(what, "give the loss of each image, without their mean: shape (3,)")
    return loss


def mean_loss(loss: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean of a loss over images, from its method ``mean`` where it has one.

    Args:
        loss: from ``build_loss``
        logits: (N, K)
        labels: int64 (N,)
    """
    mean: Callable[[Tensor, Tensor], Tensor] | None = getattr(loss, "mean", None)
    return loss(logits, labels).mean() if mean is None else mean(logits, labels)
