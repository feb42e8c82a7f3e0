"""What in a recipe is allowed but seldom meant: a pure function from a recipe to findings.

Settings that contradict each other are refused by the schema; here is what trains, and badly.
"""

import math
from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from cifarlab.config.duration import Duration
from cifarlab.data.batch_plan import batch_sizes
from cifarlab.data.config import Data
from cifarlab.optim.optimizers import SGD, Adam, DecayConfig, OptimizerConfig
from cifarlab.optim.schedules import CosineRestarts, Exponential, MultiStep, Plateau, Step
from cifarlab.recipes.schema import Recipe

EARLY = 0.1  # share of the run in which no schedule should be through
SPENT = 2e-3  # factor on the peak rate at which hardly anything is learned any more
FAR = 10  # times outside of the usual range

# Peak rates that papers, reports and library defaults take for small images: (least, most).
USUAL_LR = {
    "sgd": (1e-3, 0.5),
    "adam": (1e-4, 1e-2),
    "adamw": (1e-4, 1e-2),
    "adagrad": (1e-3, 0.1),
    "adadelta": (0.1, 1.0),
    "rmsprop": (1e-4, 1e-2),
    "muon": (0.01, 0.5),
}


class Finding(NamedTuple):
    """``what`` the recipe says, ``why`` that matters, with its source, and what to ``do``."""

    what: str
    why: str
    do: str

    def __str__(self) -> str:
        return f"{self.what}\n  why: {self.why}\n  do: {self.do}"


class _Length(NamedTuple):
    """Optimizer steps of an epoch, of the planned run, and of it with its extensions."""

    per_epoch: int
    total: int
    end: int


def lint(recipe: Recipe, images: int, splits: Collection[str] = ()) -> list[Finding]:
    """Findings about ``recipe`` where it trains on that many images; none where all is usual.

    ``splits`` are those that the source brings.
    """
    per_epoch = len(batch_sizes(images, recipe.training.batch_size))
    training = recipe.training
    durations = (training.duration, *(part.duration for part in training.extensions))
    total, *more = (max(1, duration.in_steps(per_epoch)) for duration in durations)
    length = _Length(per_epoch, total, total + sum(more))
    found = [finding for check in _CHECKS for finding in check(recipe, length)]
    return [*found, *_fractions_of_own_splits(recipe.data, splits)]


def _fractions_of_own_splits(data: Data, splits: Collection[str]) -> Iterator[Finding]:
    for split, key in (("test", "test_fraction"), ("val", "val_fraction")):
        fraction = getattr(data, key)
        if split in splits and fraction not in (0, Data.model_fields[key].default):
            yield Finding(
                f"data.{key}={fraction:g}, and the source brings a {split} split of its own",
                "that split is taken whole: the run is the same without this key",
                f"leave data.{key} out",
            )


def _milestones_end_early(recipe: Recipe, length: _Length) -> Iterator[Finding]:
    if not isinstance(recipe.schedule, MultiStep):
        return
    steps = [m.in_steps(length.per_epoch, length.total) for m in recipe.schedule.milestones]
    if max(steps) <= EARLY * length.total:
        yield Finding(
            f"schedule.milestones end at step {max(steps):,} of {length.total:,}, "
            f"{100 * max(steps) / length.total:.1f} % of the run",
            "from there on the rate is at its lowest: kth2024 set its boundaries so, in optimizer "
            "steps, and reached 64.42 % where the same network had 87.82 % without a schedule",
            "write them as shares, e.g. schedule.milestones=[0.5 of the run, 0.75 of the run]",
        )


def _lr_spent_early(recipe: Recipe, length: _Length) -> Iterator[Finding]:
    schedule, tenth = recipe.schedule, EARLY * length.total
    if isinstance(schedule, Step):
        every = max(1, schedule.step_size.in_steps(length.per_epoch, length.total))
        left, key = schedule.gamma ** math.floor(tenth / every), "schedule.step_size"
    elif isinstance(schedule, Exponential):
        left, key = schedule.gamma ** (tenth / length.per_epoch), "schedule.gamma"
    else:
        return
    if left <= SPENT:
        yield Finding(
            f"after a tenth of the run the rate is {left:.1g} of its peak ({key})",
            "the rest of the run hardly moves the weights: kth2024's step decay reached 64.42 % "
            "where the same network had 87.82 % at a constant rate",
            f"raise {key}, or shorten training.duration",
        )


def _weight_decay_under_adaptive_steps(recipe: Recipe, _: _Length) -> Iterator[Finding]:
    optimizer = recipe.optimizer
    if isinstance(optimizer, Adam):
        do = "take optimizer.kind=adamw"
    elif isinstance(optimizer, DecayConfig) and not isinstance(optimizer, SGD):
        if optimizer.decoupled_weight_decay:
            return
        do = "set optimizer.decoupled_weight_decay=true"
    else:
        return
    if optimizer.weight_decay > 0:
        yield Finding(
            f"optimizer.weight_decay={optimizer.weight_decay:g} is L2 in the gradient of "
            f"{optimizer.kind}",
            "its denominator divides the penalty too, so that weights with large gradients are "
            "decayed least (Loshchilov & Hutter 2019, section 2)",
            f"{do}, with a larger weight decay, or leave it at 0",
        )


def _lr_far_from_usual(recipe: Recipe, _: _Length) -> Iterator[Finding]:
    optimizer: OptimizerConfig = recipe.optimizer
    lowest, highest = USUAL_LR[optimizer.kind]
    lr = recipe.optimizer.lr
    if lr < lowest / FAR or lr > highest * FAR:
        side = "below" if lr < lowest else "above"
        yield Finding(
            f"optimizer.lr={lr:g} is more than {FAR} times {side} what {optimizer.kind} "
            f"usually has, {lowest:g} to {highest:g}",
            "optimizers differ in their rates by orders of magnitude (PyTorch's defaults: 0.001 "
            "for Adam, 1 for Adadelta): one carried over from another stalls or diverges",
            f"start between {lowest:g} and {highest:g}",
        )


def _warmup_longer_than_the_run(recipe: Recipe, length: _Length) -> Iterator[Finding]:
    warmup = recipe.schedule.warmup.in_steps(length.per_epoch, length.total)
    if warmup >= length.total:
        yield Finding(
            f"schedule.warmup lasts {warmup:,} steps, the run {length.total:,}",
            "the rate only ever rises and never reaches its peak; what follows the warm-up is "
            "never run (Goyal et al. 2017, section 2.2: 5 epochs, of 90)",
            "shorten schedule.warmup, e.g. to '0.05 of the run'",
        )


def _average_of_nothing(recipe: Recipe, length: _Length) -> Iterator[Finding]:
    first = recipe.averaging.first_average(length.per_epoch, length.total)
    if first > length.total:
        yield Finding(
            f"averaging.kind={recipe.averaging.kind} first averages after {first:,} steps, and "
            f"training has {length.total:,}",
            "no two weights would be averaged: 'cifarlab train' refuses it",
            "lower averaging.every, lengthen training.duration, or leave averaging out",
        )


def _acts_after_the_end(recipe: Recipe, length: _Length) -> Iterator[Finding]:
    for key, step in _first_acts(recipe, length).items():
        if step >= length.end:
            yield Finding(
                f"{key} first acts at step {step:,}, counted from 0; the run has {length.end:,}",
                "it changes nothing: the run is the same without it",
                f"let it act sooner, lengthen training.duration, or leave {key} out",
            )


def _first_acts(recipe: Recipe, length: _Length) -> dict[str, int]:
    """The first step, counted from 0, that each setting can change which waits for its time."""
    schedule, training, per_epoch = recipe.schedule, recipe.training, length.per_epoch

    def at(duration: Duration) -> int:
        return duration.in_steps(per_epoch, length.total)

    first = {
        f"augment.progressive_resize.{i}": at(size.start)
        for i, size in enumerate(recipe.augment.progressive_resize)
    }
    first |= {f"training.freeze.{i}": at(part.start) for i, part in enumerate(training.freeze)}
    if training.selective_backprop.keep < 1:
        first["training.selective_backprop"] = at(training.selective_backprop.start)
    if training.early_stopping is not None:
        first["training.early_stopping"] = (training.early_stopping.patience + 1) * per_epoch
    match schedule:
        case MultiStep():
            first |= {f"schedule.milestones.{i}": at(m) for i, m in enumerate(schedule.milestones)}
        case Step():
            first["schedule.step_size"] = at(schedule.step_size)
        case Exponential():
            first["schedule.gamma"] = per_epoch
        case Plateau():  # the first epoch sets the least loss, then patience, and one that lowers
            first["schedule.patience"] = (schedule.patience + 2) * per_epoch
        case CosineRestarts():
            second = at(schedule.warmup) + at(schedule.period)
            keys = ("cycle_mul", "cycle_decay")
            first |= {f"schedule.{key}": second for key in keys if getattr(schedule, key) != 1}
    return first


def _dropout_before_normalisation(recipe: Recipe, _: _Length) -> Iterator[Finding]:
    rate = recipe.model.dropout_before_norm()
    if rate is not None:
        yield Finding(
            f"batch normalisation comes behind dropout ({rate:g})",
            "dropout gives activations another variance in training than at test time, so that the "
            "running statistics behind it are wrong (Li et al. 2019, arXiv:1801.05134); kth2024's "
            "exchanged order reached 59.49 %",
            "keep dropout for the layers behind the last normalisation, or take norm.kind=group",
        )


_CHECKS: tuple[Callable[[Recipe, _Length], Iterator[Finding]], ...] = (
    _milestones_end_early,
    _lr_spent_early,
    _weight_decay_under_adaptive_steps,
    _lr_far_from_usual,
    _warmup_longer_than_the_run,
    _average_of_nothing,
    _acts_after_the_end,
    _dropout_before_normalisation,
)
