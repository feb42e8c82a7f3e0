"""From raw pixels to logits: the one preprocessing, kept inside the network.

The normalisation is a part of the module, so training, evaluation, checkpoints and export can't
differ in it.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from cifarlab.models.whitening import Whitening

# Bounds the memory of fit_whitening: about 160 MB at 96 pixels, 3 channels and 5 x 5 patches
_FIT_BATCH = 32


class Classifier(nn.Module):
    """Normalisation, then ``body``; ``mean`` and ``std`` per channel for pixels in 0..1.

    With ``by_image`` each image is normalised by its own mean and standard deviation instead, over
    all its pixels and channels; standard deviations below one grey level, 1 / 255, count as one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, body: nn.Module, mean: Sequence[float], std: Sequence[float], by_image: bool = False
    ) -> None:
        super().__init__()
        self.by_image = by_image
        # a body without memory_format gets PyTorch's default layout, which .view() needs
        self.memory_format = getattr(body, "memory_format", torch.contiguous_format)
        self.body = body.to(memory_format=self.memory_format)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits float32 (N, K) of images (N, H, W, C), uint8 or float in 0..255."""
        logits: Tensor = self.body(self._normalize(images))
        return logits.float()

    @property
    def n_whitening_images(self) -> int:
        """The number of training images for ``fit_whitening``: 0 without such a layer."""
        layers = [m for m in self.body.modules() if isinstance(m, Whitening)]
        return max((layer.images for layer in layers), default=0)

    def fit_whitening(self, images: np.ndarray | Tensor) -> None:
        """Fit the body's whitening layer, if it has one, to uint8 images (N, H, W, C)."""
        for module in self.body.modules():
            if isinstance(module, Whitening):
                batches = torch.as_tensor(images).split(_FIT_BATCH)
                module.fit(self._normalize(batch.to(self.mean.device)) for batch in batches)

    def _normalize(self, images: Tensor) -> Tensor:
        pixels = images.to(torch.float32) / 255
        if self.by_image:
            image_std, mean = torch.std_mean(pixels, (1, 2, 3), correction=0, keepdim=True)
            pixels = (pixels - mean) / image_std.clamp(min=1 / 255)
        else:
            pixels = (pixels - self.mean) / self.std
        pixels = pixels.permute(0, 3, 1, 2)  # what PyTorch calls channels_last, without a copy
        if self.memory_format is torch.channels_last:
            return pixels
        return pixels.clone(memory_format=self.memory_format)  # of one channel too
