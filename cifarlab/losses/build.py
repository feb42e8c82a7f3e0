"""From a recipe's loss to the functions that training calls."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cifarlab.config.plugins import plugin_errors
from cifarlab.losses.kinds import LossConfig, LossFunction
from cifarlab.system.errors import RecipeError


class Losses(NamedTuple):
    """What is ``trained`` on, and what hard examples are selected by."""

    trained: LossFunction
    selection: LossFunction


def build_losses(
    config: LossConfig, classes: Sequence[str], counts: Sequence[int], device: torch.device
) -> Losses:
    """Return a recipe's losses; raises as ``build_loss``."""
    configs = (config, config.without_smoothing())
    return Losses(*(build_loss(loss, classes, counts, device) for loss in configs))


def build_loss(
    config: LossConfig, classes: Sequence[str], counts: Sequence[int], device: torch.device
) -> LossFunction:
    """Return the loss on that device.

    Raises RecipeError as its ``build``, and where that gives no loss for each image.
    """
    with plugin_errors(config):
        loss = config.build(classes, counts)
        if isinstance(loss, nn.Module):
            loss = loss.to(device)
        logits = torch.zeros(3, len(classes), device=device)
        shape = loss(logits, torch.zeros(3, dtype=torch.int64, device=device)).shape
    if shape != (3,):
        raise RecipeError(
            f"loss.kind={config.kind} gives a tensor of shape {tuple(shape)} for 3 images",
            "give the loss of each image, without their mean: shape (3,)",
        )
    return loss


def mean_loss(loss: LossFunction, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over images of a loss: by its own ``mean``, where it has one."""
    mean: Callable[[Tensor, Tensor], Tensor] | None = getattr(loss, "mean", None)
    return loss(logits, labels).mean() if mean is None else mean(logits, labels)
