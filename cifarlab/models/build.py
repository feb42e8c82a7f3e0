"""Networks by the recipe's ``model`` part, for images of 8 to 96 pixels and 1 or 3 channels."""

from collections.abc import Sequence

import torch
from torch import nn

from cifarlab.models.configs import Model, Shape
from cifarlab.models.ensemble import build_ensemble
from cifarlab.system.errors import CifarlabError, RecipeError
from cifarlab.system.files import reason


def build_body(model: Model, image_shape: Shape, classes: int) -> nn.Module:
    """Build the network (N, C, H, W) -> (N, K), initialised from torch's global generator.

    Args:
        model: the recipe's part
        image_shape: (H, W, C) of an image
        classes: K, the number of classes

    Raises:
        RecipeError: for a network that does not fit such images, or has more parameters than the
            recipe allows
    """
    if model.max_parameters is not None:
        n_parameters = count_parameters(model, image_shape, classes)
        if n_parameters > model.max_parameters:
            raise RecipeError(
                f"model.max_parameters={model.max_parameters:,}: this network has {n_parameters:,}",
                "take fewer channels or blocks, or raise that limit",
            )
    return _build(model, image_shape, classes)


def build_for_weights(
    model: Model, image_shape: Shape, classes: int, other_models: Sequence[Model] = ()
) -> nn.Module:
    """Build the network on the CPU, for weights that are loaded next; no random number is drawn.

    Args:
        model: the recipe's part
        image_shape: (H, W, C) of an image
        classes: K, the number of classes
        other_models: those of an ensemble's further members
    """
    if other_models:
        bodies = [build_for_weights(m, image_shape, classes) for m in (model, *other_models)]
        return build_ensemble(bodies, image_shape[2])
    body = _build_without_draws(model, image_shape, classes)
    return body.to_empty(device="cpu") if model.is_shipped() else body


def count_parameters(model: Model, image_shape: Shape = (32, 32, 3), classes: int = 10) -> int:
    """Count the trainable parameters, whatever ``max_parameters`` says.

    Args:
        model: the recipe's part
        image_shape: (H, W, C) of an image
        classes: K, the number of classes
    """
    body = _build_without_draws(model, image_shape, classes)
    return sum(p.numel() for p in body.parameters() if p.requires_grad)


def _build_without_draws(model: Model, image_shape: Shape, classes: int) -> nn.Module:
    """Build the network; a shipped one on the meta device, as its state_dict holds every value."""
    with torch.device("meta" if model.is_shipped() else "cpu"), torch.random.fork_rng(devices=[]):
        return _build(model, image_shape, classes)


def _build(model: Model, image_shape: Shape, classes: int) -> nn.Module:
    """Build the network; a plug-in's gets one image, so a misfit is refused before training."""
    try:
        body = model.build(image_shape, classes)
        output_shape = (1, classes) if model.is_shipped() else _output_shape(body, image_shape)
    except CifarlabError:
        raise
    except Exception as error:
        raise _misfit(model, image_shape, f"{type(error).__name__}: {reason(error)}") from error
    if output_shape != (1, classes):
        problem = f"of one image it makes {output_shape}, not {(1, classes)}"
        raise _misfit(model, image_shape, problem)
    return body


@torch.no_grad()
def _output_shape(body: nn.Module, image_shape: Shape) -> tuple[int, ...] | str:
    """Return the output's shape for one image, or its type; the generators stay as they are."""
    height, width, channels = image_shape
    training, device = body.training, next(body.parameters(), torch.empty(0)).device
    with torch.random.fork_rng(devices=[]):
        out = body.eval()(torch.zeros(1, channels, height, width, device=device))
    body.train(training)
    return tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__


def _misfit(model: Model, image_shape: Shape, problem: str) -> RecipeError:
    what = f"model.kind={model.kind} can't be built for images {image_shape}: {problem}"
    return RecipeError(what, "change its settings, or what build(image_shape, classes) returns")
