"""The list of runs as rows of a table: each run, or each recipe with its mean over seeds."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cifarlab.dashboard.index import Entry
from cifarlab.dashboard.urls import run_url

TableRow = dict[str, Any]


def run_rows(entries: Iterable[Entry], now: float) -> list[TableRow]:
    """Return one row per run, accuracies in per cent; what is not known is None."""
    rows = [
        vars(entry)
        | {
            "url": run_url(entry.url_path),
            "run": entry.name or "(this folder)",
            "state": entry.state(now),
            "test": _percent(entry.test),
            "low": _percent(entry.interval[0]),
            "high": _percent(entry.interval[1]),
            "val": _percent(entry.val),
            "problem": entry.problem or entry.note or entry.early,
        }
        for entry in entries
    ]
    return sorted(rows, key=lambda row: -row["last_modified"])


def recipe_rows(entries: Iterable[Entry], names: Mapping[str, str]) -> list[TableRow]:
    """Return one row per recipe and images: its finished runs' mean, std and range.

    ``names`` are the groups'.

    ``n`` counts seeds: of several finished runs with one seed, which are repeats of the same
    draws, the first counts. Runs that did not come to their recipe's end are counted apart.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.problem:
            groups.setdefault(entry.group, []).append(entry)
    rows = [_recipe_row(key, names[key], members) for key, members in groups.items()]
    return sorted(rows, key=lambda row: (-(row["test"] or row["val"] or 0), row["recipe"]))


def _recipe_row(key: str, name: str, members: Sequence[Entry]) -> TableRow:
    by_seed: dict[int | None, Entry] = {}
    for entry in members:
        if entry.finished and not entry.early:
            by_seed.setdefault(entry.seed, entry)
    tests = [entry.test for entry in by_seed.values() if entry.test is not None]
    vals = [entry.val for entry in by_seed.values() if entry.val is not None]
    first = members[0]
    return {
        "group": key,
        "recipe": name,
        "data": first.data,
        "n": len(by_seed),
        "open": sum(not entry.finished or bool(entry.early) for entry in members),
        "test": _mean(tests),
        "spread": _spread(tests),
        "least": _percent(min(tests, default=None)),
        "most": _percent(max(tests, default=None)),
        "val": _mean(vals),
        "val_spread": _spread(vals),
        "seconds": statistics.median(
            [entry.seconds for entry in by_seed.values() if entry.seconds is not None] or [0]
        )
        or None,
        "runs": len(members),
    }


def _mean(accuracies: Sequence[float]) -> float | None:
    return 100 * statistics.fmean(accuracies) if accuracies else None


def _spread(accuracies: Sequence[float]) -> float | None:
    """Return the sample standard deviation in points; none of a single run."""
    return 100 * statistics.stdev(accuracies) if len(accuracies) > 1 else None


def _percent(accuracy: float | None) -> float | None:
    return None if accuracy is None else 100 * accuracy
