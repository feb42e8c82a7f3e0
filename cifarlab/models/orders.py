"""Orders of layers: what a block is made of, and a residual block's order cut into its parts."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal, NamedTuple

BlockStep = Literal["conv", "norm", "act", "pool", "dropout"]
LinearStep = Literal["linear", "norm", "act", "dropout"]
ResidualStep = Literal["conv", "norm", "act", "dropout", "add"]


class OrderParts(NamedTuple):
    """A residual block's steps: before its first convolution, from there to the addition, after."""

    before: tuple[ResidualStep, ...]
    branch: tuple[ResidualStep, ...]
    after: tuple[ResidualStep, ...]


def split_order(order: Sequence[ResidualStep], convolutions: int) -> OrderParts:
    """Split an order with that many convolutions (2, or 3 for a bottleneck).

    Where a bottleneck's order has just two, what lies behind the first up to the second is gone
    through twice: [a, conv, b, conv, c] is [a, conv, b, conv, b, conv, c]. Raises ValueError.
    """
    conv_indices = [index for index, step in enumerate(order) if step == "conv"]
    if len(conv_indices) not in {2, convolutions}:
        expected = "two" if convolutions == 2 else "two or three"
        raise ValueError(f"order needs {expected} convolutions, not {len(conv_indices)}")
    if order.count("add") != 1 or order.index("add") < conv_indices[-1]:
        raise ValueError("order needs one add, after its last convolution")
    steps = list(order)
    if len(conv_indices) < convolutions:
        first_conv, second_conv = conv_indices
        steps[second_conv + 1 : second_conv + 1] = steps[first_conv + 1 : second_conv + 1]
    before = tuple(takewhile(lambda step: step != "conv", steps))
    add = steps.index("add")
    return OrderParts(before, tuple(steps[len(before) : add]), tuple(steps[add + 1 :]))
