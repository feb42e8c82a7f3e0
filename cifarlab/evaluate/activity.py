"""Which units of a network say nothing at all."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cifarlab.evaluate.predictor import Predictor

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SiLU, nn.GELU)
_IMAGES = 250


def silent_units(predictor: Predictor, images: np.ndarray, indices: np.ndarray) -> dict[str, Any]:
    """Units whose activation is never above 0, on at most 250 of the images at ``indices``.

    A unit is a channel or an entry of a dense layer. Images are uint8 (N, H, W, C), evenly spread
    over ``indices``. Returns ``images`` and, by ``layers``, ``[silent, units]``.
    """
    peaks: dict[str, Tensor] = {}
    layers = [
        (name, module)
        for name, module in predictor.classifier.body.named_modules()
        if isinstance(module, ACTIVATIONS)
    ]

    def watch(name: str) -> Any:
        def note(_module: nn.Module, _given: Any, out: Tensor) -> None:
            peak = out.detach().float().transpose(0, 1).flatten(1).amax(1)
            peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak

        return note

    handles = [module.register_forward_hook(watch(name)) for name, module in layers]
    try:
        chosen = indices[:: -(-len(indices) // _IMAGES)]
        predictor.logits(images, 1, chosen)
    finally:
        for handle in handles:
            handle.remove()
    counts = {name: [int((peak <= 0).sum()), len(peak)] for name, peak in peaks.items()}
    return {"images": len(chosen), "layers": counts}
