"""What a colleague would say of a run's curves: findings from its metrics log and result alone."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from cifarlab.config.findings import Finding
from cifarlab.run_folder.run_data import RunData, dig
from cifarlab.system.formatting import number, percent

FLAT = 0.05  # share of the way from guessing to no loss that counts as having learned something
WORSE = 1.1  # validation loss over its least, from which on a run is called overfit
LOW = 0.1  # share of the peak rate below which little is learned
SILENT = 0.2  # share of a layer's units


def diagnose(run: RunData) -> list[Finding]:
    """Return findings about a run, finished or not; none where its curves look as they should."""
    if not run.lines:
        return []
    return [finding for check in _CHECKS for finding in check(run)]


def _guessing(run: RunData) -> float | None:
    """Return the cross-entropy in nats of guessing among the run's classes."""
    classes = dig(run.provenance, "data", "classes")
    return math.log(len(classes)) if isinstance(classes, list) and len(classes) > 1 else None


def _diverged(run: RunData) -> Iterator[Finding]:
    loss, guessing = run.curve("train", "loss"), _guessing(run)
    if guessing is None or np.isnan(loss).all():
        return
    best = int(np.nanargmin(loss))
    if loss[-1] > 1.5 * guessing or (loss[-1] > 0.95 * guessing and loss[best] < 0.8 * guessing):
        yield Finding(
            f"it diverged: training loss {loss[-1]:.2f} after epoch {run.epochs[-1]}, "
            f"{loss[best]:.2f} after epoch {run.epochs[best]}; guessing has {guessing:.2f}",
            "steps were too large for the curvature that they met",
            "lower optimizer.lr, lengthen schedule.warmup or set training.clip_grad_norm",
        )


def _never_left_the_plateau(run: RunData) -> Iterator[Finding]:
    loss, guessing = run.curve("train", "loss"), _guessing(run)
    if guessing is None or np.isnan(loss).all():
        return
    flat = (1 - FLAT) * guessing < np.nanmin(loss) and loss[-1] <= 1.5 * guessing
    if flat and not _learned(run):
        yield Finding(
            f"it never left the plateau: training loss {loss[-1]:.2f}, guessing has {guessing:.2f}",
            "the rate is too small to move the weights, or so large that nothing settles; or "
            "signals vanish on their way through the network",
            "try a rate ten times higher and one ten times lower for an epoch; add normalisation",
        )


def _learned(run: RunData) -> bool:
    """Whether validation, without dropout and augmentation, is well above guessing."""
    classes, accuracy = dig(run.provenance, "data", "classes"), run.curve("val", "accuracy")
    return not np.isnan(accuracy).all() and np.nanmax(accuracy) > 2 / len(classes)


def _lr_fell_before_learning(run: RunData) -> Iterator[Finding]:
    lr, accuracy = run.curve("lr"), run.curve("train", "accuracy")
    has_both = ~np.isnan(lr) & ~np.isnan(accuracy)
    if has_both.sum() < 4 or not has_both.all():
        return
    peak_epoch, length = int(lr.argmax()), _length(run)
    peak_lr = lr[peak_epoch]
    if run.recipe.schedule.planned_factor(0, *length) == 1:  # it may fall within the first epoch
        peak_lr = max(peak_lr, run.recipe.optimizer.lr)
    low = np.flatnonzero(lr[peak_epoch:] <= LOW * LOW * peak_lr)
    if not len(low) or run.recipe.schedule.is_constant(*length):
        return
    first = peak_epoch + int(low[0])
    elapsed_fraction = (first + 1) / len(lr)
    after = accuracy[first:].max() - accuracy[first]
    if elapsed_fraction <= 0.5 and accuracy[first] < 0.9 and after < 0.5 * (1 - accuracy[first]):
        yield Finding(
            f"the rate fell before it had learned: from epoch {run.epochs[first]} of "
            f"{run.epochs[-1]} on it is at most 1 % of its peak, at a training accuracy of "
            f"{percent(accuracy[first])}",
            f"in the rest of the run that rose by {100 * after:.1f} points only; kth2024's step "
            "decay ended so at 64.42 %",
            "let the schedule's boundaries be shares of the run, as in '0.5 of the run'",
        )


def _length(run: RunData) -> tuple[int, int]:
    """Return the steps of the run, and of its epochs, as the metrics log has them."""
    first, last = (max(1, int(number(run.lines[at].get("step")) or 1)) for at in (0, -1))
    return last, first


def _validates_at_guessing(run: RunData) -> Iterator[Finding]:
    train, val = run.curve("train", "accuracy"), run.curve("val", "accuracy")
    loss, guessing = run.curve("val", "loss"), _guessing(run)
    if guessing is None or np.isnan([train[-1], val[-1], loss[-1]]).any():
        return
    chance = math.exp(-guessing)
    if train[-1] >= 2.5 * chance and val[-1] <= 1.5 * chance and loss[-1] > guessing:
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
    others = (_never_left_the_plateau, _validates_at_guessing)
    if len(val) < 3 or np.isnan(val).any() or any(any(check(run)) for check in others):
        return
    best = int(val.argmin())
    # one lucky epoch on few images is no turning point: each is also seen with its neighbours
    level = np.array([np.median(val[max(0, index - 1) : index + 2]) for index in range(len(val))])
    rose = val[-1] > WORSE * val[best] and level[-1] > WORSE * level.min()
    if rose and train[-1] < train[best]:
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
    if not run.finished or len(accuracy) < 10 or np.isnan(accuracy).any():
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
    counts_by_layer = layers if isinstance(layers, dict) else {}
    fractions = {
        name: pair[0] / pair[1] for name, pair in counts_by_layer.items() if _counted(pair)
    }
    worst = max(fractions, key=lambda name: fractions[name], default=None)
    if worst is not None and fractions[worst] >= SILENT:
        dead, units = counts_by_layer[worst]
        yield Finding(
            f"dead activations: {dead} of {units} units of {worst} never exceed 0 on "
            f"{dig(run.result, 'dead_units', 'images')} images",
            "under ReLU they pass no gradient back and stay as they are",
            "lower optimizer.lr or its warm-up's slope, add normalisation before the "
            "activation, or take leaky_relu or silu",
        )


def _counted(pair: Any) -> bool:
    """Whether it says how many units are dead, of how many."""
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    dead, units = map(number, pair)
    return dead is not None and bool(units)


_CHECKS: tuple[Callable[[RunData], Iterator[Finding]], ...] = (
    _diverged,
    _never_left_the_plateau,
    _lr_fell_before_learning,
    _validates_at_guessing,
    _overfit,
    _still_learning,
    _dead_units,
)
