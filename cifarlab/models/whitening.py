"""A fixed first layer that decorrelates small patches (airbench: Jordan 2024, arXiv:2404.00498).

Section 3.1 there. Departures: the patches' moments and eigenvectors are computed in float64, and
each eigenvector's sign is fixed, so that equal images give equal filters; weak directions may be
left out.
"""

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from cifarlab.models.configs import Shape, WhiteningConfig
from cifarlab.models.layers import build_activation


class Whitening(nn.Module):
    """Convolution without padding: F whitening filters and their negatives.

    F is the config's ``n_components``, at most the C k k entries of a patch; None: as many as
    these. ``images`` is the number of images that it is fitted to.

    ``weight`` (2F, C, k, k) is never trained and zero until ``fit``; ``bias`` (2F) is trained and
    starts as PyTorch's convolutions do. It is no nn.Conv2d: ``initialize_`` leaves it alone.
    """

    parameter_roles: ClassVar = {"bias": "whitening"}

    def __init__(self, channels: int, config: WhiteningConfig) -> None:
        super().__init__()
        side = config.kernel_size
        entries = channels * side**2
        features = min(config.n_components or entries, entries)
        self.eps, self.images = config.eps, config.images
        weight = torch.zeros(2 * features, channels, side, side)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = nn.Parameter(torch.empty(2 * features))
        nn.init.uniform_(self.bias, -1 / math.sqrt(entries), 1 / math.sqrt(entries))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (N, C, H, W) into (N, 2F, H - k + 1, W - k + 1)."""
        return functional.conv2d(x, self.weight, self.bias)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        """Set the filters from normalised images, in batches (N, C, H, W).

        Filter i is eigenvector i of the patches' second moment, over sqrt(eigenvalue + eps), from
        the F largest eigenvalues in ascending order.
        """
        moment = patch_moment(batches, self.weight.shape[-1])
        eigenvalues, eigenvectors = torch.linalg.eigh(moment.cpu())
        scales = (eigenvalues.clamp(min=0) + self.eps).sqrt()
        n_components = len(self.bias) // 2
        filters = (fix_signs(eigenvectors) / scales).T[-n_components:]
        self.weight.copy_(torch.cat((filters, -filters)).view(self.weight.shape))


def patch_moment(batches: Iterable[Tensor], kernel_size: int) -> Tensor:
    """Return the mean of p p^T over all k x k patches p of the images (N, C, H, W), in float64.

    Shape (P, P), P = C k k. Not centred. A patch's entries are in the order of a filter's:
    channel, row, column. Memory grows with the size of one batch only.
    """
    total: Tensor | float = 0.0
    count = 0
    for batch in batches:
        patches = functional.unfold(batch.double(), kernel_size).mT.flatten(0, 1)
        total = total + patches.T @ patches
        count += len(patches)
    return torch.as_tensor(total) / count


def fix_signs(eigenvectors: Tensor) -> Tensor:
    """Return the columns (P, P), each with the sign that makes its largest entry positive.

    Entries that differ only by rounding count as equal; the first of them decides.
    """
    magnitudes = eigenvectors.abs()
    largest = (magnitudes >= (1 - 1e-6) * magnitudes.amax(0)).int().argmax(0, keepdim=True)
    return eigenvectors * eigenvectors.gather(0, largest).sign()


def build_whitening(
    whitening: WhiteningConfig, image_shape: Shape, activation: str
) -> tuple[nn.Module, Shape]:
    """Build the whitening layer and its activation; an identity if the recipe has no such layer.

    Args:
        whitening: the recipe's part
        image_shape: (H, W, C) of an image
        activation: the activation's name

    Returns:
        The layers, and the (H, W, C) of their output.
    """
    height, width, channels = image_shape
    side = whitening.kernel_size
    if not side:
        return nn.Identity(), image_shape
    layer = Whitening(channels, whitening)
    act = build_activation(activation)
    return nn.Sequential(layer, act), (height - side + 1, width - side + 1, len(layer.bias))
