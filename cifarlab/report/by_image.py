"""Comparisons image by image as tables of text, and what their numbers allow to be said."""

from collections.abc import Sequence

from cifarlab.evaluation.by_image import QUESTIONS, ImageComparison
from cifarlab.run_folder.run_data import SPLIT_NAMES
from cifarlab.system.formatting import NOTHING

Cells = tuple[tuple[str, ...], list[tuple[str, ...]]]  # headers and rows

_MOST_CLASSES = 20  # of more, those with the least p values


def title(comparison: ImageComparison) -> str:
    """Return what is compared with what, on how many images."""
    intervals = comparison.intervals
    pairs = "1 pair of runs" if intervals.n_seeds == 1 else f"{intervals.n_seeds} pairs of runs"
    n_images = sum(row.n_images for row in comparison.flips.classes)
    images = f"{n_images:,} {SPLIT_NAMES[comparison.split]} images"
    return f"{comparison.row} against {comparison.baseline}, image by image: {pairs}, {images}"


def interval_table(comparisons: Sequence[ImageComparison]) -> Cells:
    """Return a row for each comparison and question: difference, interval, p."""
    rows: list[tuple[str, ...]] = []
    for comparison in comparisons:
        metric, intervals = comparison.metric, comparison.intervals
        for question, words in QUESTIONS.items():
            interval = getattr(intervals, question)
            is_tested = question == ("seeds_and_images" if intervals.n_seeds > 1 else "images")
            rows.append(
                (
                    comparison.row,
                    words,
                    metric.number(intervals.mean, "+"),
                    NOTHING
                    if interval is None
                    else f"{metric.number(interval[0], '+')} to {metric.number(interval[1], '+')}",
                    format_p(comparison.p) if is_tested else NOTHING,
                )
            )
    return ("row", "holds for", "difference", "95 % interval", "p"), rows


def class_table(comparison: ImageComparison) -> Cells:
    """Return a row for each class: images gained and lost in a pair of runs, difference, p."""
    classes = comparison.flips.classes
    if len(classes) > _MOST_CLASSES:
        by_p = sorted(classes, key=lambda row: (2.0 if row.p is None else row.p, -row.n_lost))
        classes = tuple(by_p[:_MOST_CLASSES])
    rows: list[tuple[str, ...]] = [
        (
            row.name,
            f"{row.n_images:,}",
            _count(row.n_gained),
            _count(row.n_lost),
            f"{100 * row.difference:+.2f}",
            NOTHING
            if row.interval is None
            else f"{100 * row.interval[0]:+.2f} to {100 * row.interval[1]:+.2f}",
            format_p(row.p),
        )
        for row in classes
    ]
    headers = ("class", "images", "became right", "became wrong", "difference (points)")
    return (*headers, "95 % interval", "p (Holm)"), rows


def _count(mean: float) -> str:
    """Return a mean number of images as text."""
    return f"{mean:,.1f}".removesuffix(".0")


def sentences(comparison: ImageComparison) -> list[str]:
    """Return what a reader needs besides the tables."""
    flips, intervals = comparison.flips, comparison.intervals
    n_shown, n_classes = len(class_table(comparison)[1]), len(flips.classes)
    test = "" if flips.p is None else f" (McNemar's exact test: p = {format_p(flips.p)})"
    n_gained, n_lost = _count(flips.n_gained), _count(flips.n_lost)
    lines = [f"In a pair of runs {n_gained} images became right and {n_lost} became wrong{test}."]
    if n_shown < n_classes:
        lines.append(f"The {n_shown} classes with the least p of {n_classes:,} are shown.")
    if comparison.n_groups:
        lines.append(
            f"{comparison.metric.title.capitalize()} is no mean over images: its intervals over "
            f"images are a jackknife's, which leaves out {comparison.n_groups} groups of images in "
            "turn."
        )
    if comparison.n_left_out:
        lines.append(f"{comparison.n_left_out} pairs came after the last look, and are left out.")
    if intervals.n_seeds > 1 and intervals.seeds_and_images is None:
        lines.append("The pairs do not vary, or the plan has no look at so few: no interval, no p.")
    if comparison.n_others > 1 and comparison.p is not None:
        lines.append(
            f"{comparison.n_others} recipes beside {comparison.baseline} were judged on these "
            f"images. As the best of a list of so many, p = {format_p(comparison.p_listed)} "
            "(Bonferroni: they would have been tried whatever these images showed). Built step by "
            f"step on what these images showed, p = {format_p(comparison.p_built)} (Scheffé)."
        )
    return lines


def format_p(p: float | None) -> str:
    """Return a p value as text."""
    return NOTHING if p is None else "< 0.0001" if p < 1e-4 else f"{p:.2g}"
