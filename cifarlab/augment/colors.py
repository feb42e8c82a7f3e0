"""Change the colours of a batch of images (N, H, W, C) on its device.

Pure functions of the images and of random draws that the caller made, as in
``augment/transforms.py``. Values outside of 0..255 are not clipped. A grey image (C = 1) has no
saturation and no hue.
"""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # a colour's grey: ITU-R BT.601, as in Pillow


def adjust_brightness_contrast(images: Tensor, shifts: Tensor, factors: Tensor) -> Tensor:
    """Change brightness and contrast of each image: float32 (N, H, W, C).

    m + (x - m) * factor + 255 * shift, where m is the image's own mean over all pixels and
    channels. The idea is from hiverge/cifar10-speedrun, the formula is ours.

    Args:
        images: (N, H, W, C), uint8 or float in 0..255
        shifts: of the brightness, as fractions of 255: float (N,)
        factors: of the contrast: float (N,)
    """
    pixels = images.to(torch.float32)
    shift = pixels.mean((1, 2, 3)) * (1 - factors) + 255 * shifts
    return pixels * factors[:, None, None, None] + shift[:, None, None, None]


def adjust_saturation(images: Tensor, factors: Tensor) -> Tensor:
    """Change each image's saturation by ``factors``, float (N,): float32 (N, H, W, C).

    g + (x - g) * factor, where g is each pixel's own grey.
    """
    pixels = images.to(torch.float32)
    if images.shape[3] == 1:
        return pixels
    grey = sum(pixels[..., i : i + 1] * weight for i, weight in enumerate(LUMA))
    return grey + (pixels - grey) * factors[:, None, None, None]


def adjust_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Turn each image's hues by ``turns``, float (N,): float32 (N, H, W, C).

    A turn is a fraction of the colour circle: 1/3 makes red green. Hue, chroma and value are those
    of Smith 1978 (HSV); chroma and value stay as they are.
    """
    pixels = images.to(torch.float32)
    if images.shape[3] == 1:
        return pixels
    high, low = pixels.amax(3), pixels.amin(3)
    chroma = high - low
    red, green, blue = pixels.unbind(3)
    divisor = chroma.masked_fill(chroma == 0, 1)
    sixths = torch.where(
        high == red,
        (green - blue) / divisor,
        torch.where(high == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    sixths = sixths + 6 * turns[:, None, None]
    channels = []
    for offset in (5, 3, 1):  # red, green, blue
        position = (sixths + offset) % 6
        channels.append(high - chroma * torch.minimum(position, 4 - position).clamp(0, 1))
    return torch.stack(channels, 3)
