"""Networks by the recipe's ``model`` part, for images of 8 to 96 pixels and 1 or 3 channels."""

import torch
from torch import nn

from cifarlab.models.configs import Model, Shape
from cifarlab.system.errors import CifarlabError, RecipeError
from cifarlab.system.files import reason


def build_body(model: Model, image_shape: Shape, classes: int) -> nn.Module:
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
    return _build(model, image_shape, classes)


def build_for_weights(model: Model, image_shape: Shape, classes: int) -> nn.Module:
    """Build the network on the CPU for weights to be loaded. Draws nothing. Raises RecipeError."""
    body = _build_without_draws(model, image_shape, classes)
    return body.to_empty(device="cpu") if model.is_shipped() else body


def count_parameters(model: Model, image_shape: Shape = (32, 32, 3), classes: int = 10) -> int:
    """Count the trainable parameters; ``max_parameters`` is not looked at. Raises RecipeError."""
    body = _build_without_draws(model, image_shape, classes)
    return sum(p.numel() for p in body.parameters() if p.requires_grad)


def _build_without_draws(model: Model, image_shape: Shape, classes: int) -> nn.Module:
    """The network; of ours, whose state_dict holds all its values, the shapes alone."""
    with torch.device("meta" if model.is_shipped() else "cpu"), torch.random.fork_rng(devices=[]):
        return _build(model, image_shape, classes)


def _build(model: Model, image_shape: Shape, classes: int) -> nn.Module:
    """Build it; one that isn't ours sees one image, so that it is refused before training."""
    try:
        body = model.build(image_shape, classes)
        made = (1, classes) if model.is_shipped() else _output_shape(body, image_shape)
    except CifarlabError:
        raise
    except Exception as error:
        raise _misfit(model, image_shape, f"{type(error).__name__}: {reason(error)}") from error
    if made != (1, classes):
        raise _misfit(model, image_shape, f"of one image it makes {made}, not {(1, classes)}")
    return body


@torch.no_grad()
def _output_shape(body: nn.Module, image_shape: Shape) -> tuple[int, ...] | str:
    """The shape of what comes out for one image, or its type; what this draws is drawn anew."""
    height, width, channels = image_shape
    training, device = body.training, next(body.parameters(), torch.empty(0)).device
    with torch.random.fork_rng(devices=[]):
        out = body.eval()(torch.zeros(1, channels, height, width, device=device))
    body.train(training)
    return tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__


def _misfit(model: Model, image_shape: Shape, why: str) -> RecipeError:
    return RecipeError(
        f"model.kind={model.kind} can't be built for images {image_shape}: {why}",
        "change its settings, or what build(image_shape, classes) returns",
    )
