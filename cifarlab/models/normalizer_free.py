"""What a residual network without normalisation needs to keep its signal's variance.

Brock et al. 2021 (Characterizing signal propagation to close the performance gap in unnormalized
ResNets, arXiv:2101.08692): convolutions with scaled weight standardisation, activations times
their gain. How blocks are scaled stands in models/resnet_modules.py.
"""

import torch
from torch import Tensor, nn

from cifarlab.models.layers import build_activation
from cifarlab.models.packed_conv import PackedConv2d

_LEAST_POWER = 1e-4  # of a filter before it is scaled, as in the authors' code


class ScaledConv2d(PackedConv2d):
    """A convolution whose filters have mean 0 and unit power, times a trained gain per filter.

    (w - mean) / sqrt(fan-in * variance), section 4.3 there; the gain starts at 1. So an
    initialisation decides the weights' directions, not their size.
    """

    def reset_parameters(self) -> None:
        """Initialise as nn.Conv2d does, with gains of 1."""
        super().reset_parameters()
        self.gain = nn.Parameter(torch.ones(self.out_channels))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x (N, C_in, H, W) into (N, C, H', W')."""
        return self._conv_forward(x, self.standardized_weight(), self.bias)

    def standardized_weight(self) -> Tensor:
        """Return the filters that the convolution uses, (C, C_in, k, k)."""
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), correction=0, keepdim=True)
        power = (variance * self.weight[0].numel()).clamp(min=_LEAST_POWER)
        return (self.weight - mean) * (power.rsqrt() * self.gain[:, None, None, None])


class ScaledActivation(nn.Module):
    """An activation times its gain, so that a standard normal input leaves with variance 1."""

    def __init__(self, act: nn.Module, gain: float) -> None:
        super().__init__()
        self.act, self.gain = act, gain

    def forward(self, x: Tensor) -> Tensor:
        """Return the activation of x, of any shape, times the gain."""
        out: Tensor = self.act(x) * self.gain
        return out


def activation_gain(name: str) -> float:
    """Return 1 / the standard deviation of an activation of a standard normal variable.

    Section 4.3 there; for ReLU sqrt(2 / (1 - 1 / pi)). By the trapezoidal rule, with an error
    below 1e-6.
    """
    z = torch.linspace(-10, 10, 20_001, dtype=torch.float64, device="cpu")
    density = (-z.square() / 2).exp()
    density /= density.sum()
    y = build_activation(name, inplace=False)(z)
    mean = (density * y).sum()
    return float((density * (y - mean).square()).sum().rsqrt())
