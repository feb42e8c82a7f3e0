"""What was measured beyond accuracy, as rows of text: groups, calibration, test-time augmentation, OOD."""

from typing import Any, NamedTuple

from cifarlab.report.shift import corruption_rows
from cifarlab.report.tables import Fact
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig
from cifarlab.system.formatting import (
    NOTHING,
    count,
    interval,
    number,
    pair,
    percent,
    plain,
    seconds,
)


class Table(NamedTuple):
    """Columns, and rows of one text per column; ``numbers`` says which columns are numbers."""

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: tuple[bool, ...]


def table_of(columns: str, rows: list[tuple[str, ...]]) -> Table | None:
    """Return a table: columns by commas, those of numbers marked by #; None without rows."""
    names = columns.split(", ")
    plain_names = tuple(name.removesuffix("#") for name in names)
    return Table(plain_names, rows, tuple(name.endswith("#") for name in names)) if rows else None


def spread(run: RunData) -> list[Fact]:
    """Return the top-k accuracies and the standard deviation between classes."""
    split = run.split(run.split_name)
    top = split.get("top_k")
    facts = [
        Fact(f"Top {k}", percent(value))
        for k, value in enumerate(top if isinstance(top, list) else [], 1)
        if k in (2, 3, 5)
    ]
    std = number(split.get("std"))
    if std is not None:
        facts.append(Fact("Deviation between classes", f"{100 * std:.1f} points"))
    return facts


def groups(run: RunData) -> Table | None:
    """Return the accuracy of groups of classes: the full evaluation's, else the result's."""
    same = dig(run.examined, "split") == run.split_name
    rows = dig(run.examined, "measured", "groups") if same else None
    rows = rows or run.split(run.split_name).get("groups")
    return table_of(
        "group, classes, n#, accuracy#, 95 % interval#, taken for the group#",
        [
            (
                plain(row.get("group")),
                plain(row.get("classes")),
                count(row.get("n")),
                percent(row.get("accuracy")),
                interval(row.get("interval")),
                percent(row.get("inside")),
            )
            for row in listed(rows)
        ],
    )


def calibration(run: RunData) -> Table | None:
    """Return scores of the probabilities as trained, and at the fitted temperature."""
    split = run.split(run.split_name)
    calibrated = "calibrated" + (" (on these images)" if run.split_name == "val" else "")
    parts = (("as trained", "calibration"), (calibrated, "calibrated"))
    named_rows = [(name, row) for name, key in parts if isinstance(row := split.get(key), dict)]
    return table_of(
        "probabilities, temperature#, log loss#, Brier score#, calibration error#",
        [
            (
                name,
                _decimal(row.get("temperature"), 3),
                _decimal(row.get("nll"), 4),
                _decimal(row.get("brier"), 4),
                percent(row.get("ece")),
            )
            for name, row in named_rows
        ],
    )


def tta(run: RunData) -> Table | None:
    """Return what each number of test-time views gains and costs."""
    return table_of(
        "views, passes#, accuracy#, gain (points)#, its 95 % interval#, p#, time#, images/s#",
        [
            (
                plain(row.get("name")),
                count(row.get("views")),
                percent(row.get("accuracy")),
                points(dig(row, "against_single_view", "gain")),
                _between(dig(row, "against_single_view", "interval")),
                _chance(dig(row, "against_single_view", "p")),
                seconds(dig(row, "cost", "seconds")),
                count(dig(row, "cost", "images_per_second")),
            )
            for row in listed(dig(run.examined, "tta"))
        ],
    )


def families(run: RunData) -> Table | None:
    """Return the mean accuracy by family of corruptions, and over all."""
    accuracies = dig(run.examined, "shift", "families")
    if not isinstance(accuracies, dict) or not corruption_rows(run):
        return None
    shift = run.examined["shift"]
    rows = [("none", percent(shift.get("clean")))]
    rows += [(str(name), percent(value)) for name, value in accuracies.items()]
    return table_of("corruptions, accuracy#", [*rows, ("all, mean", percent(shift.get("mean")))])


def ood(run: RunData) -> Table | None:
    """Return the AUROC of each score against images of another source."""
    return table_of(
        "score, area under the curve#",
        [
            (plain(row.get("name")), _decimal(row.get("auroc"), 4))
            for row in listed(dig(run.examined, "ood", "scores"))
        ],
    )


def examined_on(run: RunData) -> str:
    """Return which images the full evaluation took, in words; empty where there was none."""
    split = SPOKEN.get(str(dig(run.examined, "split")))
    return f"{split} split of {plain(dig(run.examined, 'data'))}" if split else ""


def listed(rows: Any) -> list[dict[str, Any]]:
    """Return the mappings in what should be a list of them."""
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _decimal(value: Any, digits: int) -> str:
    value = number(value)
    return NOTHING if value is None else f"{value:.{digits}f}"


def _chance(p: Any) -> str:
    value = number(p)
    return "< 0.001" if value is not None and value < 0.001 else _decimal(p, 3)


def points(fraction: Any) -> str:
    """Return a difference of fractions in points, with its sign."""
    value = number(fraction)
    return NOTHING if value is None else f"{100 * value:+.2f}"


def _between(bounds: Any) -> str:
    low, high = pair(bounds)
    return NOTHING if low is None or high is None else f"{points(low)} to {points(high)}"
