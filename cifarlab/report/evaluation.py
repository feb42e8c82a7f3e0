"""What was measured beyond accuracy, as text: groups, calibration, test-time augmentation, OOD."""

from functools import partial
from typing import Any

from cifarlab.plots.run import corruption_rows
from cifarlab.report.tables import Fact, Table, table_of
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig
from cifarlab.system.formatting import (
    NOTHING,
    count,
    interval,
    number,
    pair,
    percent,
    plain,
    points,
    seconds,
)


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


def groups(run: RunData) -> Table:
    """Return the accuracy of groups of classes: the full evaluation's, else the result's."""
    same = dig(run.examined, "split") == run.split_name
    rows = dig(run.examined, "measured", "groups") if same else None
    return table_of(
        rows or run.split(run.split_name).get("groups"),
        ("group", plain, "group"),
        ("classes", plain, "classes"),
        ("n", count, "n"),
        ("accuracy", percent, "accuracy"),
        ("95 % interval", interval, "interval"),
        ("taken for the group", percent, "inside"),
    )


def calibration(run: RunData) -> Table:
    """Return scores of the probabilities as trained, and at the fitted temperature."""
    split = run.split(run.split_name)
    calibrated = "calibrated" + (" (on these images)" if run.split_name == "val" else "")
    parts = (("as trained", "calibration"), (calibrated, "calibrated"))
    return table_of(
        [{"name": name, **row} for name, key in parts if isinstance(row := split.get(key), dict)],
        ("probabilities", plain, "name"),
        ("temperature", partial(_decimal, digits=3), "temperature"),
        ("log loss", _decimal, "nll"),
        ("Brier score", _decimal, "brier"),
        ("calibration error", percent, "ece"),
    )


def tta(run: RunData) -> Table:
    """Return what each number of test-time views gains and costs."""
    return table_of(
        dig(run.examined, "tta"),
        ("views", plain, "name"),
        ("passes", count, "views"),
        ("accuracy", percent, "accuracy"),
        ("gain (points)", points, "against_single_view", "gain"),
        ("its 95 % interval", _between, "against_single_view", "interval"),
        ("p", _chance, "against_single_view", "p"),
        ("time", seconds, "cost", "seconds"),
        ("images/s", count, "cost", "images_per_second"),
    )


def families(run: RunData) -> Table:
    """Return the mean accuracy by family of corruptions, and over all."""
    accuracies = dig(run.examined, "shift", "families")
    rows = []
    if isinstance(accuracies, dict) and corruption_rows(run):
        shift = run.examined["shift"]
        ends = {"none": shift.get("clean")}, accuracies, {"all, mean": shift.get("mean")}
        rows = [(str(name), percent(value)) for part in ends for name, value in part.items()]
    return Table(("corruptions", "accuracy"), rows)


def ood(run: RunData) -> Table:
    """Return the AUROC of each score against images of another source."""
    scores = dig(run.examined, "ood", "scores")
    return table_of(scores, ("score", plain, "name"), ("area under the curve", _decimal, "auroc"))


def examined_on(run: RunData) -> str:
    """Return which images the full evaluation took, in words; empty where there was none."""
    split = SPOKEN.get(str(dig(run.examined, "split")))
    return f"{split} split of {plain(dig(run.examined, 'data'))}" if split else ""


def _decimal(value: Any, digits: int = 4) -> str:
    value = number(value)
    return NOTHING if value is None else f"{value:.{digits}f}"


def _chance(p: Any) -> str:
    value = number(p)
    return "< 0.001" if value is not None and value < 0.001 else _decimal(p, 3)


def _between(bounds: Any) -> str:
    low, high = pair(bounds)
    return NOTHING if low is None or high is None else f"{points(low)} to {points(high)}"
