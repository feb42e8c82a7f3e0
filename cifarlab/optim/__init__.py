"""Optimizers and learning-rate schedules by the recipe's parts of those names."""

from cifarlab.optim.optimizers import build_optimizer
from cifarlab.optim.schedules import Segment, factor

__all__ = ["Segment", "build_optimizer", "factor"]
