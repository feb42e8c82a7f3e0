"""The figures of a run, from what is read of it; None where there is nothing to show."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cifarlab.plots import spec
from cifarlab.plots.spec import Axis, Bars, Marks, Matrix, Panel, Plot, Rule, label
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData, as_rows, dig
from cifarlab.system.formatting import count, number, pair, percent

_DASHES = ("-", "--", ":", "-.")
_FEW_EPOCHS = 25  # so many points can be seen apart on a line
_MOST_NAMED = 30  # classes of a matrix; with more, names would touch
_ONE_COLUMN = 30  # classes; with more, a single column would be taller than a page
_MOST_CLASSES = 120  # of more, those of the least accuracy are drawn
MOST_DRAWN = 200  # classes; of more, a matrix shows those that are confused most often
_CONFUSED = 30  # of them: so many have room for their names
ENOUGH = 10  # images in a bin; the accuracy of fewer says little


def _percents(fractions: Iterable[Any]) -> np.ndarray:
    """Return fractions in per cent, float64 (N,); NaN for what is no number."""
    return 100 * np.array([number(fraction) for fraction in fractions], dtype=float)


def split_title(run: RunData, split: str | None = None) -> str:
    """Return the data's name with that of a split; None: of the one that is shown."""
    name = SPLIT_NAMES[split or run.split_name or "test"]
    return f"{label(run.data_name, 40)}, {name} split"


def curves(run: RunData) -> Plot | None:
    """Return accuracy, loss and learning rate by epoch; None before the first epoch ends.

    The number of marks is the same at every epoch, so that a live chart can update its series.
    """
    if not run.lines:
        return None
    epoch, best = run.best or (0, math.nan)
    test, measured_epoch = run.split("test"), dig(run.result, "evaluated", "epoch")
    measured_epoch = measured_epoch if isinstance(measured_epoch, int) else run.last_epoch
    accuracy, ends = test.get("accuracy"), _percents(pair(test.get("interval")))
    best_words = f"best validation: {percent(best)}, epoch {epoch}"
    test_words = f"test: {percent(accuracy)}, epoch {measured_epoch}"
    look: dict[str, Any] = {"marker": "D", "size": 4.5, "z": 4, "ends": ends[:, None]}
    points = [
        Marks([epoch], [100 * best], best_words, marker="o", size=8, hollow=True),
        Marks([measured_epoch], _percents([accuracy]), test_words, spec.VERMILION, **look),
    ]
    rule = [Rule(epoch, spec.BLUE, ":")] if run.best else []
    lr = run.curve("lr")
    top = 1.1 * max(np.nanmax(lr, initial=0), 1e-9)
    title = ", ".join(dict.fromkeys((label(run.name), label(run.data_name, 40))))
    x, epoch_axis = Axis(integer=True), Axis("epoch", integer=True)
    lr_axis = Axis("learning rate", spec.add_margin(0, top, 0.07), ticks=3)
    panels = [
        Panel([*rule, *_splits(run, "accuracy", 100), *points], x, Axis("accuracy (%)"), title),
        Panel([*rule, *_splits(run, "loss", 1)], x, Axis("loss (nats)")),
        Panel([*rule, _line(run, lr, spec.INK)], epoch_axis, lr_axis, grid=""),
    ]
    return Plot(panels, height=5.0, heights=(5, 4, 1.6), common_x=True, legend="best")


def _splits(run: RunData, what: str, scale: float) -> list[Marks]:
    splits = (("train", spec.GREY, "training"), ("val", spec.BLUE, "validation"))
    return [_line(run, scale * run.curve(name, what), color, text) for name, color, text in splits]


def _line(run: RunData, values: np.ndarray, color: str, name: str = "", **more: Any) -> Marks:
    """Return values by epoch as a line, with a point for each of a few epochs."""
    look = {"width": 1.5, "marker": "o" if len(values) <= _FEW_EPOCHS else ""} | more
    return Marks(run.epochs, values, name, color, **look)


def overlay(runs: Sequence[RunData]) -> Plot | None:
    """Return the validation accuracy of several runs by epoch; None without validation.

    Runs that differ in the seed alone have one colour, so that recipes can be compared.
    """
    validated_runs = [run for run in runs if not np.isnan(run.curve("val", "accuracy")).all()]
    if not validated_runs:
        return None
    groups: dict[Recipe, list[RunData]] = defaultdict(list)
    for run in validated_runs:
        groups[run.recipe.model_copy(update={"seed": 0, "name": "unnamed"})].append(run)
    lines = []
    for index, (first, *others) in enumerate(groups.values()):
        recipe = f"{label(first.recipe_name)} ({1 + len(others)} runs)"
        name, width = (recipe, 1.0) if others else (label(first.name), 1.5)
        look = {"width": width, "dash": _DASHES[index // len(spec.CYCLE) % len(_DASHES)]}
        for run in (first, *others):
            values = 100 * run.curve("val", "accuracy")
            lines.append(_line(run, values, spec.CYCLE[index % len(spec.CYCLE)], name, **look))
    title = label(", ".join(dict.fromkeys(run.data_name for run in validated_runs)), 60)
    axes = Axis("epoch", integer=True), Axis("validation accuracy (%)")
    height = 3.0 + 0.18 * ((len(groups) + 1) // 2)
    return Plot([Panel(lines, *axes, title)], height=height, legend="below", legend_columns=2)


def per_class_rows(run: RunData) -> list[dict[str, Any]]:
    """Return the rows of ``per_class`` in the result of the run's ``split_name``."""
    return as_rows(run.split(run.split_name).get("per_class"))


def ranked_classes(rows: Sequence[dict[str, Any]]) -> list[tuple[str, float, float, float]]:
    """Return (name, accuracy, low, high) of each class that has an accuracy, best first."""
    ranking = []
    for row in rows:
        if (accuracy := number(row.get("accuracy"))) is not None:
            low, high = (accuracy if end is None else end for end in pair(row.get("interval")))
            ranking.append((str(row.get("class", "?")), accuracy, low, high))
    return sorted(ranking, key=lambda row: (-row[1], row[0]))


def per_class(run: RunData) -> Plot | None:
    """Return the accuracy of each class with its interval; of very many, the least accurate."""
    ranking = ranked_classes(per_class_rows(run))
    if not ranking:
        return None
    rows = ranking[-_MOST_CLASSES:]
    note = f", {len(rows)} least accurate classes of {len(ranking):,}" if rows != ranking else ""
    is_dense = len(rows) > _ONE_COLUMN
    columns, row_height, dot, letters = (3, 0.145, 2.6, 5.8) if is_dense else (1, 0.24, 4.0, 7.5)
    depth = math.ceil(len(rows) / columns)
    overall = number(run.split(run.split_name).get("accuracy"))
    rule = []
    if overall is not None:
        rule = [Rule(100 * overall, spec.VERMILION, "--", f"all classes: {percent(overall)}", 1)]
    # bars would have to start at 0; dots need not
    floor = max(0.0, 10 * math.floor(10 * min(row[2] for row in rows) - 0.05))
    x = Axis(limits=spec.add_margin(floor, 100), integer=True, ticks=6)
    panels = []
    for start in range(0, len(rows), depth):
        names, values, low, high = zip(*rows[start : start + depth], strict=True)
        y = Axis("", (depth - 0.4, -0.6), [label(name, 18) for name in names], size=letters)
        look: dict[str, Any] = {"ends": _percents(low + high).reshape(2, -1), "flat": True}
        dots = Marks(_percents(values), range(len(values)), marker="o", size=dot, **look)
        panels.append(Panel([*rule, dots], x, y, grid="x"))
    split = SPLIT_NAMES[run.split_name or "test"]
    return Plot(
        panels,
        width=spec.WIDE if is_dense else spec.NARROW,
        height=0.95 + row_height * depth,
        columns=columns,
        common_x=True,
        xlabel=f"{split} accuracy on {label(run.data_name, 40)} (%), 95 % interval{note}",
        legend="above" if rule else "",
    )


def confusion_counts(run: RunData) -> np.ndarray | None:
    """Return the confusion matrix, int64 (K, K), a row per true class; None where it is not square.

    It is that of the run's ``split_name``.
    """
    try:
        counts = np.array(run.split(run.split_name).get("confusion_matrix"), dtype=np.int64)
    except (TypeError, ValueError, OverflowError):
        return None
    square = counts.ndim == 2 and counts.shape[0] == counts.shape[1] and counts.size
    return counts if square else None


def class_names(run: RunData, k: int) -> list[str]:
    """Return K class names: of the result, else of the provenance, else their numbers."""
    from_provenance = dig(run.provenance, "data", "classes")
    for names in ([row.get("class") for row in per_class_rows(run)], from_provenance):
        if isinstance(names, list) and len(names) == k:
            return [str(name) for name in names]
    return [str(number) for number in range(k)]


def largest_errors(counts: np.ndarray, most: int) -> list[tuple[int, int]]:
    """Return the cells (true, predicted) of the most frequent confusions, most frequent first."""
    errors = counts - np.diag(np.diag(counts))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    return [(int(cell) // len(counts), int(cell) % len(counts)) for cell in order]


def confused_classes(counts: np.ndarray) -> np.ndarray:
    """Return the indices of the classes to draw of a confusion matrix (K, K), ascending.

    All where they are few enough, else those of the most frequent confusions: a drawing of 1,000
    classes would be illegible and take gigabytes.
    """
    if len(counts) <= MOST_DRAWN:
        return np.arange(len(counts))
    # n classes have n * n pairs, so these pairs have at least _CONFUSED classes
    ends = [end for cell in largest_errors(counts, _CONFUSED**2) for end in cell]
    return np.sort(list(dict.fromkeys(ends))[:_CONFUSED])


def _texts(percents: np.ndarray) -> np.ndarray:
    """Return the text of each cell, empty for NaN."""
    cells = ["" if np.isnan(v) else f"{v:.1f}" if v < 99.95 else "100" for v in percents.flat]
    return np.array(cells, dtype=object).reshape(percents.shape)


def confusion(run: RunData) -> Plot | None:
    """Return the confusion matrix of the run's ``split_name`` as fractions of the true class.

    Errors have a colour scale of their own, the square root up to the largest error: on the scale
    of the diagonal, near 100 %, all of them would look white. The diagonal's scale is pale.
    """
    counts = confusion_counts(run)
    if counts is None:
        return None
    indices, all_names = confused_classes(counts), class_names(run, len(counts))
    k, names, totals = len(indices), [all_names[n] for n in indices], counts.sum(axis=1)[indices]
    counts_shown = counts[np.ix_(indices, indices)]
    percents = 100 * counts_shown / np.maximum(totals[:, None], 1)
    percents[counts_shown == 0] = np.nan
    diagonal, has_many, has_names = np.eye(k, dtype=bool), k > spec.MANY, k <= _MOST_NAMED

    def tip(row: int, column: int) -> str:
        true, guess = names[row], names[column]
        title = f"{true}: right" if row == column else f"{true} taken for {guess}"
        parts = f"{counts_shown[row, column]} of {totals[row]}"
        return f"{title}\n{parts}, {percents[row, column]:.1f}\u00a0%"

    def matrix(cells: np.ndarray, colors: str, limits: tuple[float, float], **more: Any) -> Matrix:
        values = np.where(cells, percents, np.nan)
        texts = None if has_many else _texts(values)
        return Matrix(values, colors, limits, texts=texts, tip=tip, **more)

    largest = max(np.nanmax(percents[~diagonal], initial=0), 1.0)
    words = "errors, fraction of the true class (%)"
    pale_limits = (-18.0, 220.0 if has_many else 450.0)  # small cells need more to be seen
    borders = [Rule(n + 0.5, "white", flat=f) for n in range(k - 1) for f in (True, False)]
    marks: list[spec.Mark] = [
        matrix(~diagonal, "Oranges", (0, largest), scale="sqrt", bar=words),
        matrix(diagonal, "Blues", pale_limits, bold=True),
        *(borders if has_names else []),
    ]
    labels = [label(name, 16) for name in names]
    rotation = 90 if has_many else 45 if max(map(len, labels)) > 3 else 0
    x = Axis("predicted class", None, labels, k if has_names else 20, 7.5, rotation)
    y = Axis("true class", None, labels, x.most_names, 6.5 if has_many else 7.5)
    note = f", {k} of {len(counts):,} classes" if k < len(counts) else ""
    panel = Panel(marks, x, y, split_title(run) + note, grid="", square=True, frame=not has_names)
    return Plot([panel], width=6.6 if has_many else spec.NARROW, height=5.7 if has_many else 4.1)


def filled_bins(calibration: Any) -> list[dict[str, Any]]:
    """Return the bins of a calibration in result.json that hold images and are complete."""
    keys = ("low", "high", "n", "confidence", "accuracy")
    rows = as_rows(dig(calibration, "bins"))
    return [r for r in rows if r.get("n") and all(number(r.get(k)) is not None for k in keys)]


def reliability(run: RunData) -> Plot | None:
    """Return accuracy over confidence by bin, before and after the temperature, and bin sizes."""
    split = run.split(run.split_name)
    bins = filled_bins(split.get("calibration"))
    if not bins:
        return None
    temperature = number(dig(split, "calibrated", "temperature")) or 1.0
    marks = [Marks([0, 100], [0, 100], color=spec.GREY, width=0.8, dash="--", z=1)]
    for part, name, color, marker in (
        ("calibration", "as trained", spec.VERMILION, "o"),
        ("calibrated", f"temperature {temperature:.2f}", spec.BLUE, "s"),
    ):
        ece = number(dig(split, part, "ece"))
        text = name if ece is None else f"{name}, calibration error {percent(ece, 1)}"
        for few in (False, True):
            rows = [row for row in filled_bins(split.get(part)) if (row["n"] < ENOUGH) == few]
            look: dict[str, Any] = {"alpha": 0.35} if few else {"width": 1.5, "label": text}
            x, y = (_percents(row[key] for row in rows) for key in ("confidence", "accuracy"))
            marks.append(Marks(x, y, color=color, marker=marker, **look))
    low, high, sizes = (np.array([row[key] for row in bins]) for key in ("low", "high", "n"))
    thickness = 95 * float(high[0] - low[0])
    bars = Bars(50 * (low + high), 100 * sizes / sizes.sum(), thickness, spec.VERMILION)
    limits = spec.add_margin(0, 100)
    accuracy_axis = Axis("accuracy (%)", limits)
    confidence_axis = Axis("confidence in the likeliest class (%)", limits)
    panels = [
        Panel(marks, Axis(limits=limits), accuracy_axis, split_title(run), grid="both"),
        Panel([bars], confidence_axis, Axis("images (%)", ticks=3), grid="both"),
    ]
    return Plot(panels, height=4.2, heights=(4, 1), common_x=True, legend="best")


def shift(run: RunData) -> Plot | None:
    """Return accuracy by corruption and severity, and its mean over the severities."""
    rows = [
        row
        for row in as_rows(dig(run.full_evaluation, "shift", "corruptions"))
        if isinstance(values := row.get("accuracy"), list)
        and values
        and all(number(v) is not None for v in values)
    ]
    if len({len(row["accuracy"]) for row in rows}) != 1:
        return None
    values = 100 * np.array([[*row["accuracy"], np.mean(row["accuracy"])] for row in rows])
    n, clean, mean = (dig(run.full_evaluation, "shift", key) for key in ("n", "clean", "mean"))
    top = max(100 * (number(clean) or 0.0), values.max())
    names = [label(str(row.get("name")).replace("_", " "), 18) for row in rows]
    columns = [*map(str, range(1, values.shape[1])), "mean"]
    families = [row.get("family") for row in rows]
    texts = np.array([[f"{v:.1f}" for v in row] for row in values], dtype=object)

    def tip(row: int, column: int) -> str:
        severity = "mean" if columns[column] == "mean" else f"severity {columns[column]}"
        return f"{names[row]}, {severity}\n{texts[row, column]}\u00a0%"

    limits = (min(values.min(), top - 1), top)
    look: dict[str, Any] = {"texts": texts, "bar": "accuracy (%)", "tip": tip}
    marks: list[spec.Mark] = [
        Matrix(values, "viridis", limits, **look),
        *(
            Rule(index - 0.5, "white", width=2.5, flat=True)
            for index in range(1, len(rows))
            if families[index] != families[index - 1]
        ),
        Rule(len(columns) - 1.5, "white", width=2.5),
    ]
    split = SPLIT_NAMES.get(str(dig(run.full_evaluation, "split")), "")
    title = (
        f"{label(run.data_name, 30)}, {split} split, n = {count(n)}\n"
        f"clean {percent(clean)}, corrupted {percent(mean)} on average"
    )
    axes = Axis("severity", names=columns), Axis(names=names)
    return Plot([Panel(marks, *axes, title, grid="", frame=False)], height=0.95 + 0.25 * len(rows))
