"""Class-activation maps (Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391) and feature maps.

Section 3 there, by Captum, of the network that the predictor holds: its normalisation, its
arithmetic. A map's size is its layer's; ``upsampled`` brings it to the image's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
    modules = _modules(predictor, layers)
    maps_by_layer: dict[str, list[np.ndarray]] = {name: [] for name in modules}
    with evaluation_mode(predictor) as network:
        for start in range(0, len(images), _BATCH):
            batch = slice(start, start + _BATCH)
            pixels = _pixels(predictor, images[batch])
            class_targets = torch.as_tensor(targets[batch]).to(pixels.device)
            for name, module in modules.items():
                method = LayerGradCam(network, module)
                attribution = method.attribute(pixels, class_targets, relu_attributions=not signed)
                maps_by_layer[name].append(attribution.detach()[:, 0].float().cpu().numpy())
    empty = {name: shape[1:] for name, shape in map_shapes(predictor).items()}
    return {
        name: np.concatenate(maps) if maps else np.zeros((0, *empty[name]), np.float32)
        for name, maps in maps_by_layer.items()
    }


def feature_maps(
    predictor: Predictor, images: np.ndarray | Tensor, layers: Sequence[str]
) -> dict[str, np.ndarray]:
    """What the layers put out for few images, uint8 (N, H, W, C): by layer, float32 (N, C, h, w).

    Raises UserError for an unknown layer.
    """
    from captum.attr import LayerActivation

    with evaluation_mode(predictor) as network:
        return {
            name: LayerActivation(network, module)
            .attribute(_pixels(predictor, images))
            .detach()
            .float()
            .cpu()
            .numpy()
            for name, module in _modules(predictor, layers).items()
        }


def map_shapes(predictor: Predictor) -> dict[str, Shape]:
    """(C, h, w) of each layer that puts out feature maps, in the order of the data.

    Raises UserError for a network without any.
    """
    return {name: shape for name, (_, shape) in _layers(predictor).items()}


def _layers(predictor: Predictor) -> dict[str, tuple[nn.Module, Shape]]:
    """The layers that put out feature maps of one image, and the shape of these."""
    shapes: dict[nn.Module, Shape] = {}

    def record(module: nn.Module, _inputs: Any, out: Any) -> None:
        shapes.pop(module, None)  # the last time counts
        if isinstance(out, Tensor) and out.ndim == 4:
            channels, height, width = out.shape[1:]
            shapes[module] = (channels, height, width)

    body = predictor.classifier.body
    handles = [module.register_forward_hook(record) for module in body.modules()]
    try:
        predictor.logits(np.zeros((1, *predictor.image_shape), np.uint8))
    finally:
        for handle in handles:
            handle.remove()
    layers = map_layers(body, shapes)
    if not layers:
        raise UserError(
            "no layer of this network puts out feature maps (N, C, H, W)",
            "name such layers in a method map_layers of the network",
        )
    return {name: (module, shapes[module]) for name, module in layers.items()}


def spatial_layers(shapes: dict[str, Shape]) -> list[str]:
    """The layers whose map has more than one pixel, so that it says where."""
    return [name for name, (_, height, width) in shapes.items() if height * width > 1]


def default_layer(shapes: dict[str, Shape]) -> str:
    """The last layer whose map has more than one pixel; the first where none has."""
    spatial = spatial_layers(shapes)
    return spatial[-1] if spatial else next(iter(shapes))


def fine_layer(shapes: dict[str, Shape]) -> str:
    """The last layer whose map is larger than 4 x 4; where none is, ``default_layer``."""
    fine = {name: shape for name, shape in shapes.items() if min(shape[1:]) > COARSE}
    return default_layer(fine or shapes)


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (N, h, w) at the size (H, W), bilinear, each divided by its largest value.

    A map that is 0 everywhere stays so.
    """
    tensor = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32))[:, None]
    large = interpolate(tensor, size, mode="bilinear", align_corners=False)[:, 0].numpy()
    peak = large.max((1, 2), keepdims=True, initial=0)
    scaled: np.ndarray = large / np.where(peak > 0, peak, 1)
    return scaled


@contextmanager
def evaluation_mode(predictor: Predictor) -> Iterator[Callable[[Tensor], Tensor]]:
    """The network as it is measured, with gradients: pixels 0..255 (N, H, W, C) to logits (N, K).

    The classifier is left in the mode that it was in.
    """
    classifier = predictor.classifier
    training = classifier.training

    def network(pixels: Tensor) -> Tensor:
        with predictor.compute.autocast():
            logits: Tensor = classifier(pixels)
            return logits

    classifier.eval()
    try:
        yield network
    finally:
        classifier.train(training)


def _pixels(predictor: Predictor, images: np.ndarray | Tensor) -> Tensor:
    """Images as the floats that a gradient needs; the network gives them the same logits."""
    return torch.as_tensor(np.asarray(images)).to(predictor.compute.device).float()


def _modules(predictor: Predictor, names: Sequence[str] | None) -> dict[str, nn.Module]:
    available = _layers(predictor)
    if names is None:
        names = [default_layer({name: shape for name, (_, shape) in available.items()})]
    for name in names:
        if name not in available:
            raise UserError(
                f"this network has no layer {name!r} with feature maps",
                f"take all, or some of {', '.join(available)}",
            )
    return {name: available[name][0] for name in names}
