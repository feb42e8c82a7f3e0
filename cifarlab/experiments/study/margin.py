"""Whether a faster or smaller row may stand for the baseline: is it the same within a margin?

Equivalence (the difference lies within the margin, both ways) and non-inferiority (it is not worse
by more than the margin) are tests of their own: no difference seen is neither. Both are sequential
and corrected for all rows by Holm, and stand beside the ratio of the seconds.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cifarlab.experiments.study.run_metrics import timing_problems, train_seconds
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.run_folder.run_data import RunData
from cifarlab.stats.paired import ALPHA, Interval, holm
from cifarlab.stats.sequential import Plan, equivalence_p, sequential_interval, sequential_p
from cifarlab.system.errors import UserError
from cifarlab.system.formatting import number

if TYPE_CHECKING:
    from cifarlab.experiments.study.comparison import Comparison


class MarginRow(NamedTuple):
    """A row against the baseline within a margin, and what the row costs beside it.

    ``p_same`` is of a difference beyond the margin, ``p_not_worse`` of one beyond it to the worse;
    both are corrected for all rows. ``speedup`` is how many times as fast the row trains; None
    where the seconds can't be compared. ``size`` is how many times the parameters it has.
    """

    row: str
    p_same: float
    p_not_worse: float
    speedup: float | None = None
    speedup_interval: Interval | None = None
    size: float | None = None
    verdict: str = ""


def compare_within_margin(
    comparison: "Comparison", margin: float, plan: Plan
) -> tuple[MarginRow, ...]:
    """Test each row that has pairs.

    Args:
        comparison: with its runs
        margin: in points where the metric is a fraction, else in the metric's unit
        plan: after how many pairs somebody may look

    Raises:
        UserError: the margin is not above 0
    """
    if not (math.isfinite(margin) and margin > 0):
        raise UserError(f"a margin of {margin:g} holds nothing", "take one above 0: --margin 0.2")
    metric = comparison.metric
    names = [row.name for row in comparison.rows]
    runs = dict(zip(names, map(_by_seed, comparison.runs), strict=True))
    base = next(row.values for row in comparison.rows if row.name == comparison.baseline)
    limit, tests = margin / metric.factor, []
    for row in comparison.rows:
        if row.pairs:
            seeds = [seed for seed in row.values if seed in base]
            better = [metric.sign * (row.values[seed] - base[seed]) for seed in seeds]
            not_worse = sequential_p(better, plan, -limit, "greater")
            result = MarginRow(row.name, equivalence_p(better, plan, limit), not_worse)
            pairs = [(runs[row.name][seed], runs[comparison.baseline][seed]) for seed in seeds]
            tests.append(_with_costs(result, pairs, plan))
    same, not_worse = (
        holm([getattr(test, p) for test in tests]) for p in ("p_same", "p_not_worse")
    )
    corrected = zip(tests, same, not_worse, strict=True)
    return tuple(
        test._replace(verdict=_verdict(test, margin, metric))
        for test in (t._replace(p_same=a, p_not_worse=b) for t, a, b in corrected)
    )


def _by_seed(runs: Sequence[RunData]) -> dict[int, RunData]:
    return {run.recipe.seed: run for run in runs if run.is_finished and not run.early_end}


def _with_costs(row: MarginRow, pairs: Sequence[tuple[RunData, RunData]], plan: Plan) -> MarginRow:
    """Add how many times as fast and as large the row is, from its pairs with the baseline."""
    sizes = [number(run.result.get("parameters")) for run in pairs[0]]
    if sizes[0] and sizes[1]:
        row = row._replace(size=sizes[0] / sizes[1])
    seconds = [[train_seconds(run) for run in pair] for pair in pairs]
    if not all(all(pair) for pair in seconds) or timing_problems([r for p in pairs for r in p]):
        return row
    logs = np.log(np.array(seconds, dtype=np.float64))
    gains = (logs[:, 1] - logs[:, 0]).tolist()
    interval = sequential_interval(gains, plan)
    bounds = interval and (math.exp(interval[0]), math.exp(interval[1]))
    return row._replace(speedup=math.exp(float(np.mean(gains))), speedup_interval=bounds)


def _verdict(row: MarginRow, margin: float, metric: MetricFacts) -> str:
    """Return what may be said of a row: its speed and size, then how it compares."""
    words = []
    if row.speedup is not None:
        bounds = row.speedup_interval
        interval = f" ({bounds[0]:.3g} to {bounds[1]:.3g})" if bounds else ""
        times = "" if f"{row.speedup:.3g}" == "1" else f"{row.speedup:.3g} times "
        words.append(f"{times}as fast{interval}")
    if row.size is not None and row.size != 1:
        words.append(f"{row.size:.3g} times the parameters")
    unit = " points" if metric.percent else ""
    if row.p_same < ALPHA:
        claim = f"the same within {margin:g}{unit}"
    elif row.p_not_worse < ALPHA:
        claim = f"not worse by more than {margin:g}{unit}"
    else:
        claim = f"not shown to be within {margin:g}{unit}"
    return " and ".join(filter(None, [", ".join(words), claim]))


def margin_table(rows: Sequence[MarginRow]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headers and cells of the tests within a margin."""
    headers = ("row", "p of the same", "p of not worse", "within the margin")
    return headers, [(r.row, _text(r.p_same), _text(r.p_not_worse), r.verdict) for r in rows]


def _text(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"
