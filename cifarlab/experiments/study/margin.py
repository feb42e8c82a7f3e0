"""Whether a faster or smaller row may stand for the baseline: is it the same within a margin?

Equivalence (the difference lies within the margin, both ways) and non-inferiority (it is not worse
by more than the margin) are tests of their own: no difference seen is neither. Both hold under the
comparison's plan, are corrected for all rows by Holm, and stand beside the ratio of the seconds.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cifarlab.evaluation.run_metrics import timing_problems, train_seconds
from cifarlab.experiments.study.verdicts import correct, describe_margin
from cifarlab.run_folder.run_data import RunData
from cifarlab.stats.paired import ALPHA, Interval
from cifarlab.stats.sequential import Plan, mean_speedup, sequential_p
from cifarlab.system.errors import UserError
from cifarlab.system.formatting import number, p_value

if TYPE_CHECKING:
    from cifarlab.experiments.study.comparison import Comparison


class MarginRow(NamedTuple):
    """A row against the baseline within a margin, and what the row costs beside it.

    ``same_p`` is of a difference beyond the margin, ``not_worse_p`` of one beyond it to the worse;
    both are corrected for all rows, and None before the first look. ``speedup`` is how many times
    as fast the row trains, None where the seconds can't be compared; ``size`` how many times the
    parameters it has.
    """

    row: str
    same_p: float | None = None
    not_worse_p: float | None = None
    speedup: float | None = None
    speedup_interval: Interval | None = None
    size: float | None = None
    verdict: str = ""


def require_margin(margin: float | None) -> None:
    """Refuse a margin that is not above 0.

    Raises:
        UserError: it is not above 0
    """
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise UserError(f"--margin {margin:g} is not above 0", "say one that is: --margin 0.2")


def compare_within_margin(comparison: "Comparison") -> tuple[MarginRow, ...]:
    """Test each row of a comparison that has runs, pairs and a margin."""
    metric, limit = comparison.metric, comparison.margin or 0.0
    runs = {name: _by_seed(of_row) for name, of_row in comparison.runs_by_row.items()}
    base = next(row.values for row in comparison.rows if row.name == comparison.baseline)
    tests: dict[str, MarginRow] = {}
    for row in comparison.rows:
        if row.pairs:
            seeds = [seed for seed in row.values if seed in base]
            better = [metric.sign * difference for difference in row.differences(base)]
            p = row.same_p  # equal values are not worse either; before the first look: None
            if row.p is not None:
                p = sequential_p(better, row.plan, -limit, "greater")
            pairs = [(runs[row.name][seed], runs[comparison.baseline][seed]) for seed in seeds]
            test = MarginRow(row.name, row.same_p, p)
            tests[row.name] = _with_costs(test, pairs[: row.plan.most], row.plan)
    holm_ps = correct({name: t.not_worse_p for name, t in tests.items()}, comparison.n_tests)
    margin = describe_margin(limit, metric)
    rows = [test._replace(not_worse_p=holm_ps.get(name)) for name, test in tests.items()]
    return tuple(row._replace(verdict=_verdict(row, margin)) for row in rows)


def _by_seed(runs: Sequence[RunData]) -> dict[int, RunData]:
    return {run.recipe.seed: run for run in runs if run.is_complete}


def _with_costs(row: MarginRow, pairs: Sequence[tuple[RunData, RunData]], plan: Plan) -> MarginRow:
    """Add how many times as fast and as large the row is, from its pairs with the baseline."""
    sizes = [number(run.result.get("parameters")) for run in pairs[0]]
    if sizes[0] and sizes[1]:
        row = row._replace(size=sizes[0] / sizes[1])
    seconds = [[train_seconds(run) for run in pair] for pair in pairs]
    if not all(all(pair) for pair in seconds) or timing_problems([r for p in pairs for r in p]):
        return row
    logs = np.log(np.array(seconds, dtype=np.float64))
    speedup, bounds = mean_speedup((logs[:, 1] - logs[:, 0]).tolist(), plan)
    return row._replace(speedup=speedup, speedup_interval=bounds)


def _verdict(row: MarginRow, margin: str) -> str:
    """Return what may be said of a row: its speed and size, then how it compares."""
    words = []
    if row.speedup is not None:
        bounds = row.speedup_interval
        interval = f" ({bounds[0]:.3g} to {bounds[1]:.3g})" if bounds else ""
        times = "" if f"{row.speedup:.3g}" == "1" else f"{row.speedup:.3g} times "
        words.append(f"{times}as fast{interval}")
    if row.size is not None and row.size != 1:
        words.append(f"{row.size:.3g} times the parameters")
    if row.same_p is not None and row.same_p <= ALPHA:
        claim = f"the same within {margin}"
    elif row.not_worse_p is not None and row.not_worse_p <= ALPHA:
        claim = f"not worse by more than {margin}"
    else:
        claim = f"not shown to be within {margin}"
    return " and ".join(filter(None, [", ".join(words), claim]))


def margin_table(rows: Sequence[MarginRow]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headers and cells of the tests within a margin."""
    headers = ("row", "p of the same", "p of not worse", "within the margin")
    return headers, [(r.row, p_value(r.same_p), p_value(r.not_worse_p), r.verdict) for r in rows]
