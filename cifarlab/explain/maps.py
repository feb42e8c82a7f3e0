"""Class-activation maps (Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391) and feature maps.

Section 3 there, computed by Captum on the predictor's network, with its normalisation and its
arithmetic. A map has its layer's size; ``upsample`` brings it to the image's.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from cifarlab.inference.predictor import Predictor
from cifarlab.models.network import map_layers
from cifarlab.system.errors import UserError
from cifarlab.system.transfer import to_device

COARSE = 4  # a map of at most so many rows or columns hardly shows where in the image
_BATCH = 25  # images at a time: gradients need every activation of a pass
Shape = tuple[int, int, int]


def class_activation_maps(
    predictor: Predictor,
    images: np.ndarray | Tensor,
    layers: Sequence[str] | None = None,
    targets: np.ndarray | None = None,
    *,
    relu_attributions: bool = True,
) -> dict[str, np.ndarray]:
    """Return by layer the maps float32 (N, h, w) of what speaks for a class, at least 0.

    Args:
        predictor: the network
        images: uint8 (N, H, W, C)
        layers: names as in ``map_shapes``; None: the one of ``default_layer``
        targets: class numbers (N,); None: the predicted classes
        relu_attributions: set what speaks against the class to 0, as Grad-CAM does; False: negative
            values stay

    Raises:
        DataError: the images have another type, size or number of channels than the network's
        UserError: there is no such layer
    """
    from captum.attr import LayerGradCam

    predicted = predictor.logits(images).argmax(1).numpy()
    targets = predicted if targets is None else np.asarray(targets)
    layers = [default_layer(map_shapes(predictor))] if layers is None else layers
    nodes = _layers(predictor, layers)
    maps = {name: [torch.zeros(0, *shape[1:])] for name, (_, shape) in nodes.items()}
    with predictor.evaluating() as network:
        for start in range(0, len(images), _BATCH):
            batch = slice(start, start + _BATCH)
            pixels = _pixels(predictor, images[batch])
            classes: int | Tensor = to_device(torch.as_tensor(targets[batch]), pixels.device)
            if len(pixels) == 1:  # whose tensor Captum would read
                classes = int(targets[start])
            for name, (module, _) in nodes.items():
                method = LayerGradCam(network, module)
                attribution = method.attribute(pixels, classes, relu_attributions=relu_attributions)
                maps[name].append(attribution.detach()[:, 0].float())
    # copied at the end, so that no pass waits for the one before
    return {
        name: torch.cat(parts[1:] or parts).cpu().numpy().copy() for name, parts in maps.items()
    }


def feature_maps(
    predictor: Predictor, images: np.ndarray | Tensor, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return by layer the outputs float32 (N, C, h, w), of all images in one batch.

    Args:
        predictor: the network
        images: uint8 (N, H, W, C)
        layers: names as in ``map_shapes``

    Raises:
        UserError: there is no such layer
    """
    from captum.attr import LayerActivation

    modules = [module for module, _ in _layers(predictor, layers).values()]
    with predictor.evaluating() as network:
        outputs = LayerActivation(network, modules).attribute(_pixels(predictor, images))
    arrays = (output.detach().float().cpu().numpy() for output in outputs)
    return dict(zip(layers, arrays, strict=True))


def map_shapes(predictor: Predictor) -> dict[str, Shape]:
    """Return the shape (C, h, w) of each layer's feature maps, from the input on.

    Raises:
        UserError: the network has no feature maps
    """
    return {name: shape for name, (_, shape) in _layers(predictor).items()}


def _layers(
    predictor: Predictor, names: Sequence[str] | None = None
) -> dict[str, tuple[nn.Module, Shape]]:
    """Return layers by name (None: all that put out feature maps), with the shape of their maps."""
    shapes: dict[nn.Module, Shape] = {}

    def record(module: nn.Module, _inputs: Any, out: Any) -> None:
        shapes.pop(module, None)  # the last time counts
        if isinstance(out, Tensor) and out.ndim == 4:
            channels, height, width = out.shape[1:]
            shapes[module] = (channels, height, width)

    body = predictor.classifier.body
    with ExitStack() as hooks:
        for module in body.modules():
            hooks.enter_context(module.register_forward_hook(record))
        predictor.logits(np.zeros((1, *predictor.image_shape), np.uint8))
    layers = map_layers(body, shapes)
    if not layers:
        what = "no layer of this network puts out feature maps (N, C, H, W)"
        raise UserError(what, "name such layers in a method map_layers of the network")
    names = list(layers) if names is None else names
    if unknown := [name for name in names if name not in layers]:
        what = f"this network has no layer {unknown[0]!r} with feature maps"
        raise UserError(what, f"take all, or some of {', '.join(layers)}")
    return {name: (layers[name], shapes[layers[name]]) for name in names}


def spatial_layers(shapes: dict[str, Shape]) -> list[str]:
    """Return the layers whose map has more than one pixel, so that it shows where."""
    return [name for name, (_, height, width) in shapes.items() if height * width > 1]


def fine_layers(shapes: dict[str, Shape]) -> list[str]:
    """Return the layers whose map is larger than 4 x 4."""
    return [name for name, shape in shapes.items() if min(shape[1:]) > COARSE]


def default_layer(shapes: dict[str, Shape], prefer_fine: bool = False) -> str:
    """Return the last layer whose map has more than one pixel; the first layer where none has.

    With ``prefer_fine`` the last whose map is larger than 4 x 4, where there is one.
    """
    layers = fine_layers(shapes) if prefer_fine else []
    return (layers or spatial_layers(shapes) or list(shapes)[:1])[-1]


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale maps (N, h, w) to the size (H, W), bilinear, and divide each by its largest value.

    A map that is 0 everywhere is not divided.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[:, None]
    resized = interpolate(tensor, size, mode="bilinear", align_corners=False)[:, 0].numpy()
    peak = resized.max((1, 2), keepdims=True, initial=0)
    scaled: np.ndarray = resized / np.where(peak > 0, peak, 1)
    return scaled


def _pixels(predictor: Predictor, images: np.ndarray | Tensor) -> Tensor:
    """Return images as floats, which gradients need; their logits are the same."""
    return to_device(torch.as_tensor(images), predictor.compute.device).float()
