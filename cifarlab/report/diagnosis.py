"""Findings about a run's curves, from its metrics log and result alone."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from cifarlab.config.findings import Finding
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import count, number, pair, percent

PLATEAU_FRACTION = 0.05  # a loss nearer to that of guessing is a plateau
OVERFIT_RATIO = 1.1  # validation loss over its minimum, from which on a run is called overfit
LOW_LR_FRACTION = 0.1 * 0.1  # of the peak learning rate: below it little is learned
DEAD_FRACTION = 0.2  # of a layer's units


def diagnose(run: RunData) -> list[Finding]:
    """Return findings about a finished or unfinished run; none where its curves look right."""
    return [finding for check in _CHECKS for finding in check(run)] if run.lines else []


def _classes(run: RunData) -> int:
    """Return the number of classes of the run's data, 0 where its provenance does not say."""
    classes = dig(run.provenance, "data", "classes")
    return len(classes) if isinstance(classes, list) and len(classes) > 1 else 0


def _training_at_guessing(run: RunData) -> Iterator[Finding]:
    loss, classes = run.curve("train", "loss"), _classes(run)
    if not classes or np.isnan(loss).all():
        return
    best, guessing = int(np.nanargmin(loss)), math.log(classes)
    if loss[-1] > 1.5 * guessing or (loss[-1] > 0.95 * guessing and loss[best] < 0.8 * guessing):
        yield Finding(
            f"it diverged: training loss {loss[-1]:.2f} after epoch {run.epochs[-1]}, "
            f"{loss[best]:.2f} after epoch {run.epochs[best]}; guessing has {guessing:.2f}",
            "steps were too large for the curvature that they met",
            "lower optimizer.lr, lengthen schedule.warmup or set training.clip_grad_norm",
        )
    # validation has neither dropout nor augmentation, so it may be well above guessing
    has_learned = np.nanmax(run.curve("val", "accuracy"), initial=0) > 2 / classes
    plateau = (1 - PLATEAU_FRACTION) * guessing
    if loss[best] > plateau and loss[-1] <= 1.5 * guessing and not has_learned:
        yield Finding(
            f"it never left the plateau: training loss {loss[-1]:.2f}, guessing has {guessing:.2f}",
            "the learning rate is too small to move the weights, or so large that nothing settles; "
            "or signals vanish on their way through the network",
            "try ten times that learning rate and a tenth of it for an epoch; add normalisation",
        )


def _lr_fell_before_learning(run: RunData) -> Iterator[Finding]:
    lr, accuracy = run.curve("lr"), run.curve("train", "accuracy")
    if (
        len(lr) < 4
        or np.isnan([lr, accuracy]).any()
        or run.recipe.schedule.is_constant(*_length(run))
    ):
        return
    peak_epoch, peak_lr = int(lr.argmax()), lr.max()
    if run.recipe.schedule.planned_factor(0, *_length(run)) == 1:
        # the log has one value per epoch, and the learning rate may fall within the first
        peak_lr = max(peak_lr, getattr(run.recipe.optimizer, "lr", 0.0))
    low_epochs = np.flatnonzero(lr[peak_epoch:] <= LOW_LR_FRACTION * peak_lr)
    if not len(low_epochs):
        return
    first = peak_epoch + int(low_epochs[0])
    after = accuracy[first:].max() - accuracy[first]
    is_early = (first + 1) / len(lr) <= 0.5
    if is_early and accuracy[first] < 0.9 and after < 0.5 * (1 - accuracy[first]):
        yield Finding(
            f"the learning rate fell before it had learned: from epoch {run.epochs[first]} of "
            f"{run.epochs[-1]} on it is at most 1 % of its peak, at a training accuracy of "
            f"{percent(accuracy[first])}",
            f"in the rest of the run that rose by {100 * after:.1f} points only; kth2024's step "
            "decay ended so at 64.42 %",
            "let the schedule's boundaries be fractions of the run, as in '0.5 of the run'",
        )


def _length(run: RunData) -> tuple[int, int]:
    """Return the steps of the run, and of an epoch, by the metrics log."""
    first, last = (max(1, int(number(run.lines[line].get("step")) or 1)) for line in (0, -1))
    return last, first


def _validates_at_guessing(run: RunData) -> Iterator[Finding]:
    train, val = run.curve("train", "accuracy"), run.curve("val", "accuracy")
    loss, classes = run.curve("val", "loss"), _classes(run)
    if not classes or np.isnan([train[-1], val[-1], loss[-1]]).any():
        return
    if train[-1] >= 2.5 / classes and val[-1] <= 1.5 / classes and loss[-1] > math.log(classes):
        yield Finding(
            f"validation is at guessing, {percent(val[-1])}, while training reached "
            f"{percent(train[-1])}",
            "at test time a normalisation meets other statistics than those that it kept: dropout "
            "before it, as in kth2024's exchanged order, or weights that change faster than they "
            "are kept",
            "move dropout behind the last normalisation, take norm.kind=group, or lower "
            "optimizer.lr and weight decay",
        )


def _overfit(run: RunData) -> Iterator[Finding]:
    val, train = run.curve("val", "loss"), run.curve("train", "loss")
    others = (_training_at_guessing, _validates_at_guessing)
    if len(val) < 3 or np.isnan(val).any() or any(any(check(run)) for check in others):
        return
    best = int(val.argmin())
    # the median of three epochs: one lucky epoch on few images is no turning point
    level = np.array([np.median(val[max(0, index - 1) : index + 2]) for index in range(len(val))])
    has_risen = val[-1] > OVERFIT_RATIO * val[best] and level[-1] > OVERFIT_RATIO * level.min()
    if has_risen and train[-1] < train[best]:
        yield Finding(
            f"it overfits from epoch {run.epochs[best]} on: validation loss rose from "
            f"{val[best]:.3f} to {val[-1]:.3f} while training loss fell from {train[best]:.3f} to "
            f"{train[-1]:.3f}",
            "what it learns from there on holds for the training images alone",
            "add augmentation, dropout or weight decay, train shorter, or take "
            "evaluation.checkpoint=best",
        )


def _still_learning(run: RunData) -> Iterator[Finding]:
    accuracy = run.curve("val", "accuracy")
    if not run.is_finished or len(accuracy) < 10 or np.isnan(accuracy).any():
        return
    tenth = max(1, len(accuracy) // 10)
    gain = accuracy[-tenth:].mean() - accuracy[-2 * tenth : -tenth].mean()
    if run.recipe.schedule.is_constant(*_length(run)) and gain > 0.005:
        yield Finding(
            f"it was still learning: the last {tenth} epochs brought {100 * gain:.1f} points of "
            "validation accuracy",
            "another length would rank it otherwise",
            "train longer: cifarlab train ... --extend '10 epochs' --schedule stretch",
        )


def _dead_units(run: RunData) -> Iterator[Finding]:
    layers = dig(run.result, "dead_units", "layers")
    counts = (
        {name: pair(value) for name, value in layers.items()} if isinstance(layers, dict) else {}
    )
    fractions = {name: dead / n for name, (dead, n) in counts.items() if dead is not None and n}
    worst = max(fractions, key=lambda name: fractions[name], default=None)
    if worst is not None and fractions[worst] >= DEAD_FRACTION:
        dead, units = map(count, counts[worst])
        yield Finding(
            f"dead activations: {dead} of {units} units of {worst} never exceed 0 on "
            f"{dig(run.result, 'dead_units', 'images')} images",
            "under ReLU they pass no gradient back and stay as they are",
            "lower optimizer.lr or its warm-up's slope, add normalisation before the "
            "activation, or take leaky_relu or silu",
        )


_CHECKS: tuple[Callable[[RunData], Iterator[Finding]], ...] = (
    _training_at_guessing,
    _lr_fell_before_learning,
    _validates_at_guessing,
    _overfit,
    _still_learning,
    _dead_units,
)
