"""What a run has left to do, counted; with the seconds of its pieces, how long that takes.

``forecast`` measures each kind of step for itself; a run that trains has its own steps up to now.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cifarlab.data.splits import count_test_images
from cifarlab.training.run import Run


class Kind(NamedTuple):
    """What makes steps differ: pixels a side, whether images are selected, how much is frozen."""

    pixels: int
    selects: bool
    frozen: int


class TimeLeft(NamedTuple):
    """Seconds."""

    train: float
    evaluate: float


@dataclass
class Workload:
    """Images that steps of each kind show, and views that are evaluated: validation, then test."""

    n_images: Counter[Kind]
    n_views: float


def find_kind(run: Run, step: int) -> Kind:
    """Return the kind of ``step``, counted from 0."""
    n_images = run.plan.n_images(step)
    selects = run.plan.n_trained(step, n_images) < n_images
    frozen = sum(step >= start for start, _ in run.freeze_schedule)
    return Kind(run.plan.image_size(step) or run.dataset.image_shape[0], selects, frozen)


def count_work(run: Run) -> Workload:
    """Return what is left of the run, from its present step on."""
    n_images: Counter[Kind] = Counter()
    for step in range(run.state.step, run.plan.steps):
        n_images[find_kind(run, step)] += run.plan.n_images(step)
    evaluation, n_val = run.recipe.evaluation, len(run.validation or ())
    n_test = count_test_images(run.dataset, run.recipe.data) if evaluation.test else 0
    n_epochs = len(run.plan.epochs) - run.state.epoch
    views = 1 + (evaluation.tta_views - 1) * evaluation.tta_fraction
    return Workload(n_images, n_val * (n_epochs + views) + n_test * views)


def estimate_time(
    run: Run, work: Workload, image_seconds: Callable[[Kind], float], view_seconds: float
) -> TimeLeft:
    """Return how long ``work`` takes; ``training.max_time`` may end the training before.

    Args:
        run: the run
        work: what is left of it
        image_seconds: returns the seconds of an image in a step of that kind
        view_seconds: those of a view in an evaluation
    """
    train = sum(n * image_seconds(kind) for kind, n in work.n_images.items())
    if max_time := run.recipe.training.max_time:
        train = min(train, max(0.0, max_time.seconds - run.clock.total))
    return TimeLeft(train, work.n_views * view_seconds)


def count_passes(run: Run, kind: Kind) -> float:
    """Return the forward passes of a whole image that one in a step takes as long as, about.

    Time goes with the pixels, a backward pass takes that of two forward passes, and nothing is
    saved where stages are frozen.
    """
    config, full_size = run.recipe.training.selective_backprop, run.dataset.image_shape[0]
    training_passes = 3.0 * (kind.pixels / full_size) ** 2
    if not kind.selects:
        return training_passes
    selection_size = min(config.image_size or kind.pixels, kind.pixels)
    return config.keep * training_passes + (selection_size / full_size) ** 2
