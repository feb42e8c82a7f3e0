"""Watches a network's units on some images: which are dead, how their outputs are distributed."""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifarlab.inference.predictor import Predictor

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU)
BINS = 8, 64  # of a histogram, at least and at most
_IMAGES = 250
_VALUES = 2**20  # of a tensor that are counted, evenly spread: float32 counts up to 2**24


def dead_units(predictor: Predictor, images: np.ndarray, indices: np.ndarray) -> dict[str, Any]:
    """Count units whose activation is never above 0, on at most 250 images.

    A unit is a channel, or an entry of a linear layer's output.

    Args:
        predictor: the network
        images: uint8 (N, H, W, C)
        indices: (n,), of the images to take; of more than 250 evenly spread ones are taken

    Returns:
        ``images`` (their number) and, by the names of ``layers``, ``[dead, units]``.
    """
    indices = subsample(indices, _IMAGES)
    peaks: dict[str, Tensor] = {}

    def update_peaks(name: str, out: Tensor) -> None:
        peak = unit_maxima(out)
        peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak

    watch_activations(predictor, images, indices, update_peaks)
    counts = {name: [int((peak <= 0).sum()), len(peak)] for name, peak in peaks.items()}
    return {"images": len(indices), "layers": counts}


def watch_activations(
    predictor: Predictor,
    images: np.ndarray,
    indices: np.ndarray,
    callback: Callable[[str, Tensor], None],
) -> None:
    """Predict images, and hand the outputs of all activation layers to a callback.

    Args:
        predictor: the network
        images: uint8 (N, H, W, C)
        indices: (n,), of the images to predict
        callback: called for each batch and layer with the layer's name and its output, (n, units)
            or (n, units, H, W). Where a layer is used again in a pass, its name has a number.
    """
    body, uses = predictor.classifier.body, Counter[str]()
    activations = ((name, m) for name, m in body.named_modules() if isinstance(m, ACTIVATIONS))
    names: dict[nn.Module, str] = {module: name for name, module in activations}

    def report(module: nn.Module, _inputs: Any, out: Tensor) -> None:
        name = names[module]
        uses[name] += 1
        callback(name if uses[name] == 1 else f"{name}, use {uses[name]}", out.detach())

    with ExitStack() as hooks:
        for module in names:
            hooks.enter_context(module.register_forward_hook(report))
        hooks.enter_context(body.register_forward_pre_hook(lambda *_: uses.clear()))
        predictor.logits(images, 1, indices)


def subsample(indices: np.ndarray, max_count: int) -> np.ndarray:
    """Return at most ``max_count`` of ``indices`` (n,), evenly spread, the first among them."""
    return indices[:: -(-len(indices) // max_count)]


def unit_maxima(out: Tensor) -> Tensor:
    """Return the largest value of each unit, (units,), of an output (n, units, ...)."""
    return out.float().transpose(0, 1).flatten(1).amax(1)


def histogram(values: Tensor) -> dict[str, Any]:
    """Return ``low``, ``high`` and ``counts``: how many values lie in each bin between the two.

    The bins have equal width; there are twice the third root of the number of values (Rice's rule),
    8 to 64. Of more than 2**20 values evenly spread ones are counted. Bounds and counts are None
    where a value is not finite.
    """
    flat = values.detach().float().flatten()
    # an odd stride meets every row and column of a map whose sides are even
    flat = flat[:: -(-len(flat) // _VALUES) | 1]
    low, high = torch.stack(flat.aminmax()).tolist()
    if not np.isfinite(high - low):
        return {"low": None, "high": None, "counts": None}
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = min(max(math.ceil(2 * len(flat) ** (1 / 3)), BINS[0]), BINS[1])
    counts = torch.histc(flat, bins, low, high).long().tolist()
    return {"low": low, "high": high, "counts": counts}
