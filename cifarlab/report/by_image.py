"""Comparisons image by image as tables of text, and what their numbers allow to be said."""

from collections.abc import Iterator, Sequence
from typing import Any

from cifarlab.evaluation.by_image import QUESTIONS, ImageComparison
from cifarlab.report.tables import format_gain
from cifarlab.run_folder.run_data import SPLIT_NAMES
from cifarlab.system.formatting import NOTHING, TextTable, p_value

_MOST_CLASSES = 20  # of more, those with the least p values


def title(comparison: ImageComparison) -> str:
    """Return what is compared with what, on how many images."""
    intervals = comparison.intervals
    pairs = "1 pair of runs" if intervals.n_seeds == 1 else f"{intervals.n_seeds} pairs of runs"
    n_images = sum(row.n_images for row in comparison.flips.classes)
    images = f"{n_images:,} {SPLIT_NAMES[comparison.split]} images"
    return f"{comparison.row} against {comparison.baseline}, image by image: {pairs}, {images}"


def interval_table(comparisons: Sequence[ImageComparison]) -> TextTable:
    """Return a row for each comparison and question that has an interval: difference, interval, p.

    p is of no difference: for other seeds and other images, of one pair of runs for other images.
    """
    rows: list[tuple[str, ...]] = []
    for comparison in comparisons:
        metric, intervals = comparison.metric, comparison.intervals
        main_question = "seeds_and_images" if intervals.n_seeds > 1 else "images"
        for question, words in QUESTIONS.items():
            if interval := getattr(intervals, question):
                numbers = metric.number(intervals.mean, "+"), metric.interval(interval, "+")
                p = p_value(comparison.p if question == main_question else None)
                rows.append((comparison.row, words, *numbers, p))
    return _known_columns(("row", "holds for", "difference", "95 % interval", "p (Holm)"), rows)


def _known_columns(headers: tuple[str, ...], rows: list[tuple[str, ...]]) -> TextTable:
    """Return a table without the columns that are empty: before the first look."""
    columns = range(len(headers))
    indices = [i for i in columns if not rows or any(row[i] != NOTHING for row in rows)]
    return tuple(headers[i] for i in indices), [tuple(row[i] for i in indices) for row in rows]


def class_table(comparison: ImageComparison) -> TextTable:
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
            format_gain(row.interval),
            p_value(row.p),
        )
        for row in classes
    ]
    headers = ("class", "images", "became right", "became wrong", "difference (points)")
    return _known_columns((*headers, "95 % interval", "p (Holm)"), rows)


def _count(mean: float) -> str:
    """Return a mean number of images as text."""
    return f"{mean:,.1f}".removesuffix(".0")


def sentences(comparison: ImageComparison) -> list[str]:
    """Return what a reader needs besides the tables."""
    flips, intervals = comparison.flips, comparison.intervals
    n_shown, n_classes = len(class_table(comparison)[1]), len(flips.classes)
    test = "" if flips.p is None else f" (McNemar's exact test: p = {p_value(flips.p)})"
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
            f"images. As the best of a list of so many, p = {p_value(comparison.p_listed)} "
            "(Bonferroni: they would have been tried whatever these images showed). Built step by "
            f"step on what these images showed, p = {p_value(comparison.p_built)} (Scheffé)."
        )
    return lines


def page_parts(comparisons: Sequence[ImageComparison]) -> Iterator[Any]:
    """Yield the tables and texts of a page (``markdown_page``)."""
    yield interval_table(comparisons)
    for comparison in comparisons:
        yield f"## {title(comparison)}"
        yield class_table(comparison)
        yield sentences(comparison)


def flips_rows(comparisons: Sequence[ImageComparison]) -> list[dict[str, Any]]:
    """Return the flips of each row and class as plain values, unrounded."""
    names = ("row", "class", "n_images", "n_gained", "n_lost", "difference", "low", "high", "p")
    rows = []
    for comparison in comparisons:
        for flips in comparison.flips.classes:
            low, high = flips.interval or (None, None)
            numbers = (flips.n_images, flips.n_gained, flips.n_lost, flips.difference)
            values = (comparison.row, flips.name, *numbers, low, high, flips.p)
            rows.append(dict(zip(names, values, strict=True)))
    return rows
