"""Test-time views: logits averaged over mirrored and shifted copies of each image.

1: the image. 2: and its mirror. 6: both, also shifted by one pixel up-left and down-right, edges
reflected (the test-time augmentation of KellerJordan/cifar10-airbench, with equal weights). 10:
both, also shifted by one pixel towards each corner (the ten crops of Krizhevsky et al. 2012, of
the image with a reflected edge). All images get them, or only those whose first view has low
confidence: as in hiverge/cifar10-speedrun, but below a fixed threshold instead of a fraction of the
images that happen to be predicted together.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

# views -> how many pixels down and right their windows lie; from 2 on each is mirrored too
_OFFSETS = {
    1: ((0, 0),),
    2: ((0, 0),),
    6: ((0, 0), (-1, -1), (1, 1)),
    10: ((0, 0), (-1, -1), (-1, 1), (1, -1), (1, 1)),
}


def average_logits(
    network: Callable[[Tensor], Tensor], images: Tensor, views: int, first: Tensor | None = None
) -> Tensor:
    """Return the mean logits (N, K) of the views of images.

    Args:
        network: returns logits (N, K) of images (N, H, W, C)
        images: (N, H, W, C)
        views: 1, 2, 6 or 10
        first: the first view's logits (N, K), if computed already
    """
    view_iterator = generate_views(images, views)
    view = next(view_iterator)
    total = network(view) if first is None else first
    for view in view_iterator:
        total = total + network(view)
    return total / views


def generate_views(images: Tensor, views: int) -> Iterator[Tensor]:
    """Yield 1, 2, 6 or 10 views of the images (N, H, W, C), the images themselves first."""
    for down, right in _OFFSETS[views]:
        view = shift(shift(images, 1, down), 2, right)
        yield view
        if views > 1:
            yield view.flip(2)


def shift(images: Tensor, axis: int, offset: int) -> Tensor:
    """Return images shifted by one pixel; the edge is reflected.

    Args:
        images: (N, H, W, C)
        axis: 1, rows, or 2, columns
        offset: 1 shifts up or left, -1 down or right; 0: not at all
    """
    if offset == 0:
        return images
    last = images.shape[axis] - 1
    remainder = images.narrow(axis, max(offset, 0), last)
    mirrored = images.narrow(axis, last - 1 if offset > 0 else 1, 1)
    return torch.cat((remainder, mirrored) if offset > 0 else (mirrored, remainder), axis)


def confidence(logits: Tensor) -> Tensor:
    """Return the likeliest class's probability, float64 (N,), of logits (N, K)."""
    return logits.double().softmax(1).amax(1)  # in float32 many would be 1 exactly


def confidence_threshold(logits: Tensor, fraction: float) -> float:
    """Return the confidence that a fraction of the images lies below, of logits (N, K).

    It is halfway between two images' confidences, so that rounding puts no image on another side.
    """
    confidences = torch.nn.functional.pad(confidence(logits).sort().values, (1, 1))
    confidences[-1] = 1.0
    count = round(fraction * len(logits))
    return float(confidences[count : count + 2].mean())
