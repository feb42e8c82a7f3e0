"""The figures of a run, from what is read of it; None where there is nothing to show."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cifarlab.plots import spec
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig, listed
from cifarlab.system.formatting import count, number, pair, percent

_DASHES = ("-", "--", ":", "-.")
_FEW_EPOCHS = 25  # so many points can be told apart on a line
_MOST_NAMED = 30  # classes of a matrix; with more, names would touch
_ONE_COLUMN = 30  # classes; with more, a single column would be taller than a page
_MOST_CLASSES = 120  # of more, those of the least accuracy are drawn
MOST_DRAWN = 200  # classes; of more, a matrix shows those that are confused most often
_CONFUSED = 30  # of them: so many have room for their names
ENOUGH = 10  # images in a bin; the accuracy of fewer says little


def curves(run: RunData) -> spec.Plot | None:
    """Return accuracy, loss and learning rate by epoch; None before the first epoch ends.

    The marks are the same at every epoch, so that a chart can be watched.
    """
    if not run.lines:
        return None
    epoch, best = run.best or (0, math.nan)
    test = number(run.split("test").get("accuracy"))
    measured = dig(run.result, "evaluated", "epoch")
    measured = measured if isinstance(measured, int) else run.last_epoch
    low, high = (
        math.nan if end is None else end for end in pair(run.split("test").get("interval"))
    )
    points = [
        spec.Marks(
            x=[epoch], y=[100 * best], color=spec.BLUE, marker="o", size=8, hollow=True,
            label=f"best validation: {percent(best)}, epoch {epoch}",
        ),
        spec.Marks(
            x=[measured], y=[math.nan if test is None else 100 * test], color=spec.VERMILION, z=4,
            marker="D", size=4.5, ends=100 * np.array([[low], [high]]),
            label=f"test: {percent(test)}, epoch {measured}",
        ),
    ]  # fmt: skip
    rule = [spec.Rule(epoch, spec.BLUE, ":")] if run.best else []
    lr = run.curve("lr")
    top = 1.1 * max(np.nanmax(lr, initial=0), 1e-9)
    title = ", ".join(dict.fromkeys((spec.label(run.name), spec.label(run.data_name, 40))))
    x, lr_line = spec.Axis(integer=True), _line(run, lr, spec.INK)
    return spec.Plot(
        [
            spec.Panel(
                [*rule, *_splits(run, "accuracy", 100), *points],
                x,
                spec.Axis("accuracy (%)"),
                title,
            ),
            spec.Panel([*rule, *_splits(run, "loss", 1)], x, spec.Axis("loss (nats)")),
            spec.Panel(
                [*rule, lr_line],
                spec.Axis("epoch", integer=True),
                spec.Axis("learning rate", spec.with_margin(0, top, 0.07), ticks=3),
                grid="",
            ),
        ],
        height=5.0,
        heights=(5, 4, 1.6),
        common_x=True,
        legend="best",
    )


def _splits(run: RunData, what: str, scale: float) -> list[spec.Marks]:
    return [
        _line(run, scale * run.curve(split, what), color, spoken)
        for split, spoken, color in (
            ("train", "training", spec.GREY),
            ("val", "validation", spec.BLUE),
        )
    ]


def _line(run: RunData, values: np.ndarray, color: str, name: str = "", **more: Any) -> spec.Marks:
    """Return values by epoch, with points where they can be told apart."""
    marker = "o" if len(values) <= _FEW_EPOCHS else ""
    look: dict[str, Any] = {"width": 1.5, "marker": marker} | more
    return spec.Marks(x=run.epochs, y=values, color=color, label=name, **look)


def overlay(runs: Sequence[RunData]) -> spec.Plot | None:
    """Return the validation accuracy of several runs by epoch; None where none holds images out.

    Runs that differ by their seed alone share a colour, so that the eye compares recipes.
    """
    plotted = [run for run in runs if not np.isnan(run.curve("val", "accuracy")).all()]
    if not plotted:
        return None
    groups: dict[Recipe, list[RunData]] = {}
    for run in plotted:
        key = run.recipe.model_copy(update={"seed": 0, "name": "unnamed"})
        groups.setdefault(key, []).append(run)
    lines = []
    for index, members in enumerate(groups.values()):
        first, several = members[0], len(members) > 1
        name = (
            f"{spec.label(first.recipe_name)} ({len(members)} runs)"
            if several
            else spec.label(first.name)
        )
        look = {"width": 1.0 if several else 1.5, "dash": _DASHES[index // len(spec.CYCLE) % 4]}
        color = spec.CYCLE[index % len(spec.CYCLE)]
        lines += [
            _line(run, 100 * run.curve("val", "accuracy"), color, name, **look) for run in members
        ]
    title = spec.label(", ".join(dict.fromkeys(run.data_name for run in plotted)), 60)
    x = spec.Axis("epoch", integer=True)
    return spec.Plot(
        [spec.Panel(lines, x, spec.Axis("validation accuracy (%)"), title)],
        height=3.0 + 0.18 * ((len(groups) + 1) // 2),
        legend="below",
        legend_columns=2,
    )


def class_rows(run: RunData) -> list[dict[str, Any]]:
    """Return the shown split's result by class, as it was written."""
    return listed(run.split(run.split_name).get("per_class"))


def ranked_classes(rows: Sequence[dict[str, Any]]) -> list[tuple[str, float, float, float]]:
    """Return the name, the accuracy, and its interval, of each class that has one, best first."""
    ranked = []
    for row in rows:
        if (accuracy := number(row.get("accuracy"))) is not None:
            low, high = (accuracy if end is None else end for end in pair(row.get("interval")))
            ranked.append((str(row.get("class", "?")), accuracy, low, high))
    return sorted(ranked, key=lambda row: (-row[1], row[0]))


def per_class(run: RunData) -> spec.Plot | None:
    """Return the accuracy of each class with its interval; of very many, the least accurate."""
    ranked = ranked_classes(class_rows(run))
    if not ranked:
        return None
    rows = ranked[-_MOST_CLASSES:]
    some = f", {len(rows)} least accurate classes of {len(ranked):,}" if rows != ranked else ""
    columns = 1 if len(rows) <= _ONE_COLUMN else 3
    dense = columns > 1
    depth = math.ceil(len(rows) / columns)
    overall = number(run.split(run.split_name).get("accuracy"))
    rule = [] if overall is None else [
        spec.Rule(100 * overall, spec.VERMILION, "--", f"all classes: {percent(overall)}", 1)
    ]  # fmt: skip
    # dots, unlike bars, need no zero
    floor = max(0.0, 10 * math.floor(10 * min(row[2] for row in rows) - 0.05))
    panels = []
    for start in range(0, len(rows), depth):
        names, values, low, high = zip(*rows[start : start + depth], strict=True)
        dots = spec.Marks(
            x=100 * np.array(values), y=range(len(values)), ends=100 * np.array([low, high]),
            flat=True, marker="o", size=2.6 if dense else 4,
        )  # fmt: skip
        x = spec.Axis(limits=spec.with_margin(floor, 100), integer=True, ticks=6)
        short, size = [spec.label(name, 18) for name in names], 5.8 if dense else 7.5
        y = spec.Axis(limits=(depth - 0.4, -0.6), names=short, size=size)
        panels.append(spec.Panel([*rule, dots], x, y, grid="x"))
    split = SPOKEN[run.split_name or "test"]
    return spec.Plot(
        panels,
        width=spec.WIDE if dense else spec.NARROW,
        height=0.95 + (0.145 if dense else 0.24) * depth,
        columns=columns,
        common_x=True,
        below=f"{split} accuracy on {spec.label(run.data_name, 40)} (%), 95 % interval{some}",
        legend="above" if rule else "",
    )


def confusion_counts(run: RunData) -> np.ndarray | None:
    """Return the shown split's confusion matrix, int64 (K, K), rows true; None if not square."""
    try:
        counts = np.array(run.split(run.split_name).get("confusion_matrix"), dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and counts.size
    return counts if square else None


def class_names(run: RunData, k: int) -> list[str]:
    """Return K class names: of the result, else of the provenance, else their numbers."""
    from_provenance = dig(run.provenance, "data", "classes")
    for names in ([row.get("class") for row in class_rows(run)], from_provenance):
        if isinstance(names, list) and len(names) == k:
            return [str(name) for name in names]
    return [str(number) for number in range(k)]


def largest_errors(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Return the cells (true, predicted) of the most frequent confusions, most frequent first."""
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    return [(int(cell) // len(counts), int(cell) % len(counts)) for cell in order]


def drawn_classes(counts: np.ndarray) -> np.ndarray:
    """Return the numbers of the classes that a drawn matrix shows of counts (K, K), rising.

    All where they are few enough, else those of the most frequent confusions: a matrix of 1,000
    classes shows nothing and takes gigabytes.
    """
    if len(counts) <= MOST_DRAWN:
        return np.arange(len(counts))
    # so many pairs hold at least as many classes as are wanted
    ends = [end for cell in largest_errors(counts, _CONFUSED**2) for end in cell]
    return np.sort(list(dict.fromkeys(ends))[:_CONFUSED])


def _percent_texts(percents: np.ndarray) -> np.ndarray:
    """Return what stands in each cell: nothing where there is no number."""
    cells = ["" if np.isnan(v) else f"{v:.1f}" if v < 99.95 else "100" for v in percents.flat]
    return np.array(cells, dtype=object).reshape(percents.shape)


def confusion(run: RunData) -> spec.Plot | None:
    """Return the confusion matrix of the shown split by share of the true class.

    Errors have their own colour scale, by the square root up to the largest error: beside a
    diagonal near 100 % they would all look white. The diagonal has its own, pale one.
    """
    counts = confusion_counts(run)
    if counts is None:
        return None
    drawn, totals = drawn_classes(counts), counts.sum(axis=1)
    k, all_names = len(drawn), class_names(run, len(counts))
    names, totals = [all_names[index] for index in drawn], totals[drawn]
    counts_shown = counts[np.ix_(drawn, drawn)]
    percents = 100 * counts_shown / np.maximum(totals[:, None], 1)
    right = np.eye(k, dtype=bool)
    errors = np.where((percents > 0) & ~right, percents, np.nan)
    many = k > spec.MANY

    def tip(row: int, column: int) -> str:
        true, guess = names[row], names[column]
        title = f"{true}: right" if row == column else f"{true} taken for {guess}"
        parts = f"{counts_shown[row, column]} of {totals[row]}"
        return f"{title}\n{parts}, {percents[row, column]:.1f}\u00a0%"

    largest = max(np.nanmax(errors, initial=0), 1.0)
    right_cells = np.where(right & (percents > 0), percents, np.nan)
    pale = (-18.0, 450.0) if not many else (-18.0, 220.0)  # small cells need more to be seen
    marks: list[spec.Mark] = [
        spec.Matrix(
            values=errors,
            colors="Oranges",
            limits=(0, largest),
            scale="sqrt",
            bar="errors, share of the true class (%)",
            texts=None if many else _percent_texts(errors),
            tip=tip,
        ),
        spec.Matrix(
            values=right_cells,
            colors="Blues",
            limits=pale,
            texts=None if many else _percent_texts(right_cells),
            bold=True,
            tip=tip,
        ),
    ]
    if k <= _MOST_NAMED:
        marks += [
            spec.Rule(i + 0.5, "white", flat=flat) for i in range(k - 1) for flat in (True, False)
        ]
    short = [spec.label(name, 16) for name in names]
    rotation = 90 if many else 45 if max(map(len, short)) > 3 else 0
    x = spec.Axis("predicted class", None, short, 20 if k > _MOST_NAMED else k, 7.5, rotation)
    y = spec.Axis("true class", None, short, x.most_names, 6.5 if many else 7.5)
    some = f", {k} of {len(counts):,} classes" if k < len(counts) else ""
    split = SPOKEN[run.split_name or "test"]
    title = f"{spec.label(run.data_name, 40)}, {split} split{some}"
    panel = spec.Panel(marks, x, y, title, grid="", square=True, frame=k > _MOST_NAMED)
    return spec.Plot([panel], width=6.6 if many else spec.NARROW, height=5.7 if many else 4.1)


def filled_bins(calibration: Any) -> list[dict[str, Any]]:
    """Return the bins that hold images of a calibration in result.json; none of another."""
    keys = ("low", "high", "n", "confidence", "accuracy")
    rows = listed(dig(calibration, "bins"))
    return [r for r in rows if r.get("n") and all(number(r.get(k)) is not None for k in keys)]


def reliability(run: RunData) -> spec.Plot | None:
    """Return accuracy over confidence by bin, before and after the temperature, and bin sizes."""
    split = run.split(run.split_name)
    bins = filled_bins(split.get("calibration"))
    if not bins:
        return None
    temperature = number(dig(split, "calibrated", "temperature")) or 1.0
    marks: list[Any] = [
        spec.Marks(x=[0, 100], y=[0, 100], color=spec.GREY, width=0.8, dash="--", z=1)
    ]
    for part, name, color, marker in (
        ("calibration", "as trained", spec.VERMILION, "o"),
        ("calibrated", f"temperature {temperature:.2f}", spec.BLUE, "s"),
    ):
        rows = filled_bins(split.get(part))
        ece = number(dig(split, part, "ece"))
        text = name if ece is None else f"{name}, calibration error {percent(ece, 1)}"
        for few in (False, True):
            points = [row for row in rows if (row["n"] < ENOUGH) == few]
            look: dict[str, Any] = {"alpha": 0.35} if few else {"width": 1.5, "label": text}
            at, values = ([100 * p[k] for p in points] for k in ("confidence", "accuracy"))
            marks.append(spec.Marks(x=at, y=values, color=color, marker=marker, **look))
    total = sum(row["n"] for row in bins)
    sizes = spec.Bars(
        [50 * (row["low"] + row["high"]) for row in bins],
        [100 * row["n"] / total for row in bins],
        95 * (bins[0]["high"] - bins[0]["low"]),
        spec.VERMILION,
    )
    x, y = (
        spec.Axis(limits=spec.with_margin(0, 100)),
        spec.Axis("accuracy (%)", spec.with_margin(0, 100)),
    )
    below = spec.Axis("confidence in the likeliest class (%)", spec.with_margin(0, 100))
    title = f"{spec.label(run.data_name, 40)}, {SPOKEN[run.split_name or 'test']} split"
    return spec.Plot(
        [
            spec.Panel(marks, x, y, title, grid="both"),
            spec.Panel([sizes], below, spec.Axis("images (%)", ticks=3), grid="both"),
        ],
        height=4.2,
        heights=(4, 1),
        common_x=True,
        legend="best",
    )


def corruption_rows(run: RunData) -> list[dict[str, Any]]:
    """Return the rows of the shift, as they were written; those of the usual form alone."""
    return [
        row
        for row in listed(dig(run.examined, "shift", "corruptions"))
        if isinstance(values := row.get("accuracy"), list)
        and values
        and all(number(v) is not None for v in values)
    ]


def shift(run: RunData) -> spec.Plot | None:
    """Return accuracy by corruption and severity, and its mean over the severities."""
    rows = corruption_rows(run)
    if not rows or len({len(row["accuracy"]) for row in rows}) != 1:
        return None
    values = 100 * np.array([[*row["accuracy"], np.mean(row["accuracy"])] for row in rows])
    clean = number(dig(run.examined, "shift", "clean")) or 0.0
    top = max(100 * clean, values.max())
    names = [spec.label(str(row.get("name")).replace("_", " "), 18) for row in rows]
    columns = [*map(str, range(1, values.shape[1])), "mean"]
    families = [row.get("family") for row in rows]
    borders = [n for n in range(1, len(rows)) if families[n] != families[n - 1]]
    texts = np.array([[f"{v:.1f}" for v in row] for row in values], dtype=object)

    def tip(row: int, column: int) -> str:
        severity = "mean" if columns[column] == "mean" else f"severity {columns[column]}"
        return f"{names[row]}, {severity}\n{texts[row, column]}\u00a0%"

    limits = (min(values.min(), top - 1), top)
    matrix = spec.Matrix(
        values=values, colors="viridis", limits=limits, texts=texts, bar="accuracy (%)", tip=tip
    )
    split = SPOKEN.get(str(dig(run.examined, "split")), "")
    images, mean = (dig(run.examined, "shift", key) for key in ("n", "mean"))
    title = (
        f"{spec.label(run.data_name, 30)}, {split} split, n = {count(images)}\n"
        f"clean {percent(clean)}, corrupted {percent(mean)} on average"
    )
    panel = spec.Panel(
        [
            matrix,
            *(spec.Rule(n - 0.5, "white", width=2.5, flat=True) for n in borders),
            spec.Rule(len(columns) - 1.5, "white", width=2.5),
        ],
        spec.Axis("severity", names=columns),
        spec.Axis(names=names),
        title,
        grid="",
        frame=False,
    )
    return spec.Plot([panel], height=0.95 + 0.25 * len(rows))
