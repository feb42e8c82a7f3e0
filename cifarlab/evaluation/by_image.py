"""Two recipes compared image by image, from the logits that their runs keep.

A metric that is a mean over images has a value for each. Any other one (macro F1) has one for each
of some groups of images, by the jackknife (Quenouille 1956, Tukey 1958): the pseudo-values of a
group are what the metric loses where the group is left out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cifarlab.config.plugins import plugin_errors
from cifarlab.metrics.kinds import MetricConfig, MetricFacts
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData
from cifarlab.stats.crossed import CrossedIntervals, crossed_intervals
from cifarlab.stats.flips import Flips, count_flips
from cifarlab.stats.sequential import Plan
from cifarlab.system.errors import UserError

QUESTIONS = {
    "seeds": "these test images, other seeds",
    "images": "these runs, other images like these",
    "seeds_and_images": "other seeds and other images",
}
GROUPS = 50  # of images


class ImageComparison(NamedTuple):
    """A row's runs against the baseline's on the same images, paired by seed.

    ``intervals`` are of the metric's difference; ``n_groups`` is None for a mean over images.
    ``p`` is of no difference: for other seeds and other images, of one pair for other images;
    valid over the looks of the plan, None before the first. ``n_others`` other recipes than the
    baseline were judged on these images: ``p_listed`` holds for the best of a list of so many,
    ``p_built`` for a recipe that was built step by step on what these images showed. ``n_left_out``
    pairs of runs came after the plan's last look and don't count.
    """

    row: str
    baseline: str
    split: str
    metric: MetricFacts
    intervals: CrossedIntervals
    n_groups: int | None
    flips: Flips
    n_others: int
    p: float | None
    p_listed: float | None
    p_built: float | None
    n_left_out: int = 0


class _RunValues(NamedTuple):
    """A run's answers: the metric's values by image or group, which images are right, images."""

    values: np.ndarray
    right: np.ndarray
    n_groups: int | None
    predictions: Predictions


def compare_images(
    row: str,
    baseline: str,
    pairs: Sequence[tuple[RunData, RunData]],
    split: str,
    metric: MetricConfig,
    plan: Plan,
    n_others: int = 1,
) -> ImageComparison:
    """Compare a row's runs with the baseline's, image by image.

    Args:
        row: the row's name
        baseline: the baseline's name
        pairs: runs of the row, each with the baseline's run of the same seed; one pair at least
        split: ``test`` or ``val``
        metric: what is compared
        plan: after how many pairs somebody may look
        n_others: how many recipes beside the baseline were judged on these images

    Raises:
        RunFolderError: a run keeps no predictions of the split, or damaged ones
        UserError: the runs were not measured on the same images, or on one alone
    """
    answers = [[_answers(run, split, metric) for run in pair] for pair in pairs[: plan.most]]
    first = answers[0][0].predictions
    for pair, of_pair in zip(pairs, answers, strict=False):
        for run, answer in zip(pair, of_pair, strict=True):
            _require_same_images(first, answer.predictions, run, split)
    ours, base = (np.stack([pair[i].values for pair in answers]) for i in (0, 1))
    right, base_right = (np.stack([pair[i].right for pair in answers]) for i in (0, 1))
    n_pairs = len(answers)
    intervals = crossed_intervals(ours - base, plan.limits(n_pairs).get(n_pairs))
    return ImageComparison(
        row,
        baseline,
        split,
        metric.facts,
        intervals,
        answers[0][0].n_groups,
        count_flips(right, base_right, first.labels, first.classes, plan),
        n_others,
        *correct_for_wear(intervals, plan, n_others),
        len(pairs) - n_pairs,
    )


def correct_for_wear(
    intervals: CrossedIntervals, plan: Plan, n_others: int
) -> tuple[float | None, float | None, float | None]:
    """Return ``p``, ``p_listed`` and ``p_built`` of an image comparison.

    Args:
        intervals: of the differences
        plan: after how many pairs somebody may look
        n_others: how many recipes beside the baseline were judged on these images
    """
    p, p_built = (intervals.p_value(n_chosen) for n_chosen in (1, n_others))
    if intervals.n_seeds > 1:  # nobody looks at the seeds of one pair
        p, p_built = (plan.p_at(intervals.n_seeds, each) for each in (p, p_built))
    if p is None or p_built is None:
        return None, None, None
    p_listed = min(1.0, n_others * p)
    return p, p_listed, max(p_listed, p_built)  # a list is one way to build


def _answers(run: RunData, split: str, metric: MetricConfig) -> _RunValues:
    file = RunFolder(run.path).predictions / f"{split}.safetensors"
    is_read = run.predictions is not None and run.predicted_split == split
    predictions = run.predictions if is_read and run.predictions else Predictions.read(file)
    if len(predictions.labels) < 2:
        what = f"{run.name} was measured on one {SPLIT_NAMES[split]} image: nothing varies"
        raise UserError(what, "leave out --by image")
    values, n_groups = _metric_values(metric, predictions.logits, predictions.labels)
    right = predictions.logits.argmax(1) == predictions.labels
    return _RunValues(values, right, n_groups, predictions)


def _require_same_images(first: Predictions, other: Predictions, run: RunData, split: str) -> None:
    if first.fingerprint != other.fingerprint or not np.array_equal(first.labels, other.labels):
        raise UserError(
            f"{run.name} was not measured on the same {SPLIT_NAMES[split]} images as the others",
            "compare runs with the same data, data.split_seed and fractions by image",
        )


def _metric_values(
    metric: MetricConfig, logits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, int | None]:
    """Return values (N,) whose mean is the metric, of images or of groups, and how many groups."""
    value = plugin_errors(metric)(metric.value)
    total = float(value(logits, labels))
    by_image = plugin_errors(metric)(metric.image_values)(logits, labels)
    # a kind that changes another one's value may still have that one's values of images
    if by_image is not None and np.isclose(np.mean(by_image), total, rtol=1e-6):
        return np.asarray(by_image, dtype=np.float64), None
    n_groups = min(GROUPS, len(labels))
    group = np.random.default_rng(0).permutation(len(labels)) % n_groups
    leave_one_out = np.array(
        [value(logits[group != number], labels[group != number]) for number in range(n_groups)]
    )
    pseudo_values = (n_groups - 1) * (leave_one_out.mean() - leave_one_out)
    return total + pseudo_values, n_groups
