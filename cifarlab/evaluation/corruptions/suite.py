"""The fifteen common corruptions of Hendrycks & Dietterich 2019 (arXiv:1903.12261), by the batch.

Kinds, severities and parameters are those of their CIFAR-10-C; lengths in pixels are meant for
images of 32 x 32. Written anew, on whole batches on the images' device. Departures:

- frost comes from a procedural texture, since their photographs are not ours to carry;
- glass blur exchanges neighbouring pixels, where theirs copies one over the other;
- motion blur leaves out taps that weigh less than a fortieth of a grey level;
- values are rounded to 8 bits once, at the end, where theirs are cut off, and layers of snow and
  blurred glass are not rounded in between.

So accuracies lie near those on CIFAR-10-C and are not the same: they compare networks that saw
these images. Each corruption is a pair of functions: one draws, on the CPU, the other is a pure
function of images and draws.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from cifarlab.evaluation.corruptions import blur, digital, noise, weather

Shape = tuple[int, int, int, int]
BatchDraws = tuple[Tensor, ...]
SEVERITIES = (1, 2, 3, 4, 5)


class Corruption(NamedTuple):
    """``draw`` takes a CPU generator, the images' shape (N, H, W, C) and the severity, 1..5.

    ``apply`` takes images float32 (N, H, W, C) in 0..1, these draws on the same device and the
    severity, and gives images of the same shape, maybe beyond 0..1.
    """

    family: str
    draw: Callable[[torch.Generator, Shape, int], BatchDraws]
    apply: Callable[[Tensor, BatchDraws, int], Tensor]


def _no_draws(_generator: torch.Generator, _shape: Shape, _severity: int) -> BatchDraws:
    return ()


CORRUPTIONS = {
    "gaussian noise": Corruption("noise", noise.normal_draws, noise.gaussian_noise),
    "shot noise": Corruption("noise", noise.uniform_draws, noise.shot_noise),
    "impulse noise": Corruption("noise", noise.uniform_draws, noise.impulse_noise),
    "defocus blur": Corruption("blur", _no_draws, blur.defocus_blur),
    "glass blur": Corruption("blur", blur.glass_draws, blur.glass_blur),
    "motion blur": Corruption("blur", blur.motion_draws, blur.motion_blur),
    "zoom blur": Corruption("blur", _no_draws, blur.zoom_blur),
    "snow": Corruption("weather", weather.snow_draws, weather.snow),
    "frost": Corruption("weather", weather.frost_draws, weather.frost),
    "fog": Corruption("weather", weather.fog_draws, weather.fog),
    "brightness": Corruption("weather", _no_draws, weather.brightness),
    "contrast": Corruption("digital", _no_draws, digital.contrast),
    "elastic": Corruption("digital", digital.elastic_draws, digital.elastic),
    "pixelate": Corruption("digital", _no_draws, digital.pixelate),
    "jpeg": Corruption("digital", _no_draws, digital.jpeg),
}


def corrupt(images: Tensor, name: str, severity: int, generator: torch.Generator) -> Tensor:
    """Images uint8 (N, H, W, C) under that corruption, on their device; the generator is a CPU's.

    ``name`` is a key of ``CORRUPTIONS``, ``severity`` 1..5; the images given stay as they are.
    """
    height, width, channels = images.shape[1:]
    shape = (len(images), height, width, channels)
    corruption = CORRUPTIONS[name]
    draws = corruption.draw(generator, shape, severity)
    on_device = tuple(drawn.to(images.device, non_blocking=True) for drawn in draws)
    changed = corruption.apply(images.to(torch.float32) / 255, on_device, severity)
    return (changed.clamp(0, 1) * 255).round().to(torch.uint8)
