"""Class-activation maps (Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391) and feature maps.

Section 3 there, by Captum, of the network that the predictor holds: its normalisation, its
arithmetic. A map's size is its layer's; ``upsampled`` brings it to the image's.
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

COARSE = 4  # a map of so many rows or columns, or fewer, says little of where
_BATCH = 25  # images at a time: gradients need every activation of a pass
Shape = tuple[int, int, int]


def class_activation_maps(
    predictor: Predictor,
    images: np.ndarray | Tensor,
    layers: Sequence[str] | None = None,
    targets: np.ndarray | None = None,
    *,
    signed: bool = False,
) -> dict[str, np.ndarray]:
    """Where each image has what speaks for a class: by layer, float32 (N, h, w), at least 0.

    Images are uint8 (N, H, W, C). ``layers`` are names as in ``map_shapes``; None: the last one
    with a map of more than one pixel. ``targets`` (N,) are class numbers; None: what is predicted.
    ``signed`` keeps what speaks against the class too, where Grad-CAM has 0. Raises DataError for
    images of another kind, UserError for an unknown layer.
    """
    from captum.attr import LayerGradCam

    predicted = predictor.logits(images).argmax(1).numpy()
    targets = predicted if targets is None else np.asarray(targets)
    layers = [default_layer(map_shapes(predictor))] if layers is None else layers
    chosen = _layers(predictor, layers)
    maps = {
        name: np.zeros((len(images), *shape[1:]), np.float32) for name, (_, shape) in chosen.items()
    }
    with predictor.evaluating() as network:
        for start in range(0, len(images), _BATCH):
            batch = slice(start, start + _BATCH)
            pixels = _pixels(predictor, images[batch])
            class_targets = torch.as_tensor(targets[batch]).to(pixels.device)
            for name, (module, _) in chosen.items():
                method = LayerGradCam(network, module)
                attribution = method.attribute(pixels, class_targets, relu_attributions=not signed)
                maps[name][batch] = attribution.detach()[:, 0].float().cpu().numpy()
    return maps


def feature_maps(
    predictor: Predictor, images: np.ndarray | Tensor, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """What the layers put out for few images, uint8 (N, H, W, C): by layer, float32 (N, C, h, w).

    Raises UserError for an unknown layer.
    """
    from captum.attr import LayerActivation

    modules = [module for module, _ in _layers(predictor, layers).values()]
    with predictor.evaluating() as network:
        outputs = LayerActivation(network, modules).attribute(_pixels(predictor, images))
    arrays = (output.detach().float().cpu().numpy() for output in outputs)
    return dict(zip(layers, arrays, strict=True))


def map_shapes(predictor: Predictor) -> dict[str, Shape]:
    """(C, h, w) of each layer that puts out feature maps, in the order of the data.

    Raises UserError for a network without any.
    """
    return {name: shape for name, (_, shape) in _layers(predictor).items()}


def _layers(
    predictor: Predictor, names: Sequence[str] | None = None
) -> dict[str, tuple[nn.Module, Shape]]:
    """The layers of these names, None: all, that put out feature maps, and the shape of these."""
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
    """The layers whose map has more than one pixel, so that it says where."""
    return [name for name, (_, height, width) in shapes.items() if height * width > 1]


def fine_layers(shapes: dict[str, Shape]) -> list[str]:
    """The layers whose map is larger than 4 x 4."""
    return [name for name, shape in shapes.items() if min(shape[1:]) > COARSE]


def default_layer(shapes: dict[str, Shape], fine: bool = False) -> str:
    """The last layer whose map has more than one pixel; the first where none has.

    With ``fine`` the last whose map is larger than 4 x 4, where there is one.
    """
    layers = (fine_layers(shapes) if fine else []) or spatial_layers(shapes) or list(shapes)[:1]
    return layers[-1]


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) at the size (H, W), bilinear, each divided by its largest value.

    A map that is 0 everywhere stays so.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[:, None]
    large = interpolate(tensor, size, mode="bilinear", align_corners=False)[:, 0].numpy()
    peak = large.max((1, 2), keepdims=True, initial=0)
    scaled: np.ndarray = large / np.where(peak > 0, peak, 1)
    return scaled


def _pixels(predictor: Predictor, images: np.ndarray | Tensor) -> Tensor:
    """Images as the floats that a gradient needs; the network gives them the same logits."""
    return torch.as_tensor(images).to(predictor.compute.device).float()
