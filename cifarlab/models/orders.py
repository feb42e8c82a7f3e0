"""Orders of layers: what a block is made of, and a residual block's order cut into its parts."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Literal, NamedTuple

BlockStep = Literal["conv", "norm", "act", "pool", "dropout"]
LinearStep = Literal["linear", "norm", "act", "dropout"]
ResidualStep = Literal["conv", "norm", "act", "dropout", "add"]


class Parts(NamedTuple):
    """A residual block's steps: before its first convolution, from there to the addition, after."""

    before: tuple[ResidualStep, ...]
    branch: tuple[ResidualStep, ...]
    after: tuple[ResidualStep, ...]


def in_parts(order: Sequence[ResidualStep], convolutions: int) -> Parts:
    """The parts of an order with that many convolutions (2, or 3 for a bottleneck).

    Where a bottleneck's order has just two, what lies behind the first up to the second is gone
    through twice: [a, conv, b, conv, c] is [a, conv, b, conv, b, conv, c]. Raises ValueError.
    """
    places = [place for place, step in enumerate(order) if step == "conv"]
    if len(places) not in {2, convolutions}:
        wanted = "two" if convolutions == 2 else "two or three"
        raise ValueError(f"order needs {wanted} convolutions, not {len(places)}")
    if order.count("add") != 1 or order.index("add") < places[-1]:
        raise ValueError("order needs one add, after its last convolution")
    steps = list(order)
    if len(places) < convolutions:
        first, second = places
        steps[second + 1 : second + 1] = steps[first + 1 : second + 1]
    before = tuple(takewhile(lambda step: step != "conv", steps))
    add = steps.index("add")
    return Parts(before, tuple(steps[len(before) : add]), tuple(steps[add + 1 :]))
