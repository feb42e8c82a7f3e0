"""What a study costs, said before it is paid: seeds, runs and hours, and the chance of a decision.

Spread and seconds are those of runs that are there: of this study, or of the same recipes and
images in earlier ones.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from cifarlab.experiments.study.comparison import Comparison, ComparisonRow
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import SPLIT_NAMES, dig
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.price import Price, price
from cifarlab.stats.sequential import Plan
from cifarlab.system.formatting import number

REFERENCE_GAP = 0.003  # priced where no margin is named: 0.3 points of accuracy
_UNITS = (1.0, 2.0)  # differences in standard deviations, priced where nothing is known
_EARLIER_SEEDS = range(20)  # of earlier runs, beside the study's own


class EarlierRuns(NamedTuple):
    """What earlier runs of a row say: differences from the baseline by seed, seconds of each run.

    ``n_own`` of the differences are of this study's own seeds.
    """

    differences: list[float]
    seconds: list[float]
    n_own: int = 0

    @property
    def std(self) -> float | None:
        """Return the standard deviation of the differences; None of fewer than two, or equal."""
        return float(np.std(self.differences, ddof=1)) or None if self.differences[1:] else None


class Question(NamedTuple):
    """What a study asks: when somebody looks, the margin, the metric, and how many rows share p."""

    plan: Plan
    margin: float | None
    metric: MetricFacts
    n_tests: int

    @property
    def gap(self) -> float:
        """Return the difference that a price is quoted for."""
        return REFERENCE_GAP if self.margin is None else self.margin

    def price(
        self, std: float, difference: float, margin: float | None = None, known: int = 0
    ) -> Price:
        """Return the price of a row at the strictest level that Holm's correction asks for.

        Args:
            std: standard deviation of the differences
            difference: the true one
            margin: below which a difference counts as none, in the unit of ``std``
            known: pairs that are there
        """
        level = ALPHA / max(1, self.n_tests)
        return price(std, difference, self.plan, margin, level, known)


def find_chance(row: ComparisonRow, comparison: Comparison) -> float | None:
    """Return the chance that the plan sees a true difference as large as the margin, or 0.3 points.

    The differences are taken to vary as those seen; None where they do not, or nothing was planned.
    """
    std = row.pairs and row.pairs.difference.std
    if not std or len(comparison.plan.stages) > 1:
        return None
    question = Question(comparison.plan, comparison.margin, comparison.metric, comparison.n_tests)
    return question.price(std, question.gap).chance


def find_earlier_runs(
    recipes: Mapping[str, Recipe],
    baseline: str,
    seeds: Collection[int],
    find_run: Callable[[Recipe], RunFolder | None],
    metric: str,
) -> dict[str, EarlierRuns]:
    """Return what finished runs of the rows' recipes say, by row.

    Args:
        recipes: the rows' recipes
        baseline: the baseline row's name
        seeds: the study's own
        find_run: finds the finished run of a recipe with its seed
        metric: name of what is compared
    """
    results: dict[str, dict[int, dict[str, Any]]] = {row: {} for row in recipes}
    for row, recipe in recipes.items():
        for seed in sorted({*_EARLIER_SEEDS, *seeds}):
            if folder := find_run(recipe.model_copy(update={"seed": seed})):
                results[row][seed] = folder.result() or {}
    earlier = {}
    for row, by_seed in results.items():
        pairs = {
            seed: (by_seed[seed], base)
            for seed, base in results[baseline].items()
            if seed in by_seed
        }
        differences = {seed: _difference(*pair, metric) for seed, pair in pairs.items()}
        known = {seed: value for seed, value in differences.items() if value is not None}
        seconds = [number(dig(result, "cost", "train_seconds")) for result in by_seed.values()]
        n_own = len(known.keys() & set(seeds))
        earlier[row] = EarlierRuns([*known.values()], [s for s in seconds if s], n_own)
    return earlier


def _difference(result: dict[str, Any], base: dict[str, Any], metric: str) -> float | None:
    """Return the difference on the first split that both have."""
    for split in SPLIT_NAMES:
        ours, theirs = (number(dig(r, split, "metrics", metric)) for r in (result, base))
        if ours is not None and theirs is not None:
            return ours - theirs
    return None


def quote(question: Question, baseline: str, rows: Mapping[str, EarlierRuns]) -> list[str]:
    """Return lines about what the rows will take until they are decided, or their plan ends.

    Args:
        question: what the study asks
        baseline: the baseline row's name
        rows: what earlier runs say of each row, the baseline among them
    """
    prices, lines = {}, []
    for row, earlier in rows.items():
        if row == baseline or not (std := earlier.std):
            continue
        apart = question.price(std, question.gap, question.margin, earlier.n_own)
        words = _words(apart, f"{question.metric.gap(question.gap)} apart")
        if question.margin is not None:
            equal = question.price(std, 0.0, question.margin, earlier.n_own)
            words += f"; {_words(equal, 'equal to it')}"
        n = len(earlier.differences)
        spread = f"standard deviation {question.metric.gap(std)} over {n} earlier pairs"
        lines.append(f"price of {row} against {baseline}, {spread}: {words}")
        prices[row] = apart.pairs
    others = [row for row in rows if row != baseline and row not in prices]
    if others:
        in_units = [_words(question.price(1.0, d), f"{d:g} of it apart") for d in _UNITS]
        lines.append(
            f"price of {', '.join(others)} against {baseline}, of whose standard deviation nothing "
            f"is known yet: {'; '.join(in_units)}"
        )
    return [*lines, _in_all(question.plan.most, rows, prices, baseline)]


def _words(price: Price, where: str) -> str:
    return f"{where}: {price.pairs:.1f} seeds, decided with {100 * price.chance:.0f} %"


def _in_all(
    most: int, rows: Mapping[str, EarlierRuns], prices: Mapping[str, float], baseline: str
) -> str:
    """Return the line about runs and hours of the whole study."""
    seeds = {row: prices.get(row, most) for row in rows if row != baseline}
    seeds[baseline] = max(seeds.values(), default=most)
    at_most, mean = most * len(rows), sum(seeds.values())
    runs = f"{at_most} runs" if mean > at_most - 0.5 else f"about {mean:.0f} to {at_most} runs"
    all_seconds = [s for earlier in rows.values() for s in earlier.seconds]
    if not all_seconds:
        return f"price in all: {runs}; nothing is known yet of their hours"
    typical = float(np.mean(all_seconds))
    costs = {row: float(np.mean(e.seconds)) if e.seconds else typical for row, e in rows.items()}
    hours = [sum(n * costs[row] for row, n in counts.items()) / 3600 for counts in
             (seeds, dict.fromkeys(rows, most))]  # fmt: skip
    span = f"{hours[1]:.2g} h" if mean > at_most - 0.5 else f"{hours[0]:.2g} to {hours[1]:.2g} h"
    return (
        f"price in all: {runs}, {span} at {typical:.2g} s a run ({len(all_seconds)} earlier runs)"
    )
