"""Test-time views: logits averaged over mirrored and shifted copies of each image.

1: the image. 2: and its mirror. 6: both, also shifted by one pixel up-left and down-right, edges
reflected (the test-time augmentation of KellerJordan/cifar10-airbench, with equal weights). 10:
both, also shifted by one pixel towards each corner (the ten crops of Krizhevsky et al. 2012, of
the image with a reflected edge). All images get them, or just those that the first view leaves
unsure: as in hiverge/cifar10-speedrun, but below a fixed confidence instead of a fraction of the
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
    """Average the logits (N, K) over ``views`` of the images (N, H, W, C).

    ``first`` are the first view's logits (N, K) where they are known: that view costs nothing.
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
    """Return what a window of their size sees one pixel on (1) or back (-1) on that axis."""
    if offset == 0:
        return images
    last = images.shape[axis] - 1
    kept = images.narrow(axis, max(offset, 0), last)
    mirrored = images.narrow(axis, last - 1 if offset > 0 else 1, 1)
    return torch.cat((kept, mirrored) if offset > 0 else (mirrored, kept), axis)


def confidence(logits: Tensor) -> Tensor:
    """Return the likeliest class's probability, float64 (N,), of logits (N, K)."""
    return logits.double().softmax(1).amax(1)  # float32 would call the nearly certain all 1


def confidence_threshold(logits: Tensor, fraction: float) -> float:
    """Return the confidence below which that fraction of the images lies, of logits (N, K).

    Halfway between two images, so that rounding decides for none of them.
    """
    confidences = torch.nn.functional.pad(confidence(logits).sort().values, (1, 1))
    confidences[-1] = 1.0
    count = round(fraction * len(logits))
    return float(confidences[count : count + 2].mean())
