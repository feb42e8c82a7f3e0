"""Optimizers, learning-rate schedules and averaging by the recipe's parts of those names."""

from cifarlab.optim.averaging import Averager, build_averaging
from cifarlab.optim.clipping import clip_units
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.optim.penalties import penalise
from cifarlab.optim.plateau import Watch, start_segment, watched
from cifarlab.optim.rates import set_rates, set_trained
from cifarlab.optim.schedules import Segment, factor

__all__ = [
    "Averager",
    "Segment",
    "Watch",
    "build_averaging",
    "build_optimizer",
    "clip_units",
    "factor",
    "penalise",
    "set_rates",
    "set_trained",
    "start_segment",
    "watched",
]
