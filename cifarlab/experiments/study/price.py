"""What a study costs, said before it is paid: seeds, runs, time, and the chance of a decision.

Spread and seconds are those of runs that are there: of this study, or of the same recipes and
images in earlier ones.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cifarlab.experiments.study.comparison import Comparison, ComparisonRow
from cifarlab.experiments.study.verdicts import is_single_look
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import SPLIT_NAMES, dig
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.price import Price, price
from cifarlab.stats.sequential import MAX_LOOK, Plan
from cifarlab.system.formatting import number
from cifarlab.system.formatting import seconds as duration

REFERENCE_GAP = 0.003  # priced where no margin is named: 0.3 points of accuracy
# differences that are priced where nothing is known
_UNITS = ((1.0, "standard deviation"), (2.0, "standard deviations"))
_EARLIER_SEEDS = range(20)  # of earlier runs, beside the study's own


class EarlierRuns(NamedTuple):
    """What earlier runs of a row say: differences from the baseline by seed, seconds of each run.

    ``study_differences`` are those of this study's own seeds, of which ``n_runs`` runs are there.
    """

    differences: list[float]
    seconds: list[float]
    study_differences: Sequence[float] = ()
    n_runs: int = 0

    @property
    def std(self) -> float | None:
        """Return the standard deviation of the differences; None of fewer than two, or equal."""
        return float(np.std(self.differences, ddof=1)) or None if self.differences[1:] else None


class Question(NamedTuple):
    """What a study asks: when somebody looks, the margin, the metric, and how many rows share p.

    ``n_seeds``: runs per row at most, which may end before the plan does; ``is_fixed``: each row
    gets so many, decided or not.
    """

    plan: Plan
    margin: float | None
    metric: MetricFacts
    n_tests: int
    n_seeds: int = MAX_LOOK
    is_fixed: bool = False

    @property
    def most(self) -> int:
        """Return how many runs a row gets at most."""
        return self.n_seeds if self.is_fixed else min(self.n_seeds, self.plan.most)

    @property
    def gap(self) -> float:
        """Return the difference that a price is quoted for."""
        return REFERENCE_GAP if self.margin is None else self.margin

    def price(
        self,
        std: float,
        difference: float,
        margin: float | None = None,
        first: Sequence[float] = (),
    ) -> Price:
        """Return the price of a row at the strictest level that Holm's correction asks for.

        Args:
            std: standard deviation of the differences
            difference: the true one
            margin: below which a difference counts as none, in the unit of ``std``
            first: differences of the pairs that are there
        """
        if self.most < 2:  # one pair decides nothing
            return Price(self.most, 0.0)
        level = ALPHA / max(1, self.n_tests)
        return price(std, difference, self.plan, margin, level, first, self.most)


def find_chance(row: ComparisonRow, comparison: Comparison) -> float | None:
    """Return the chance that the plan sees a true difference as large as the margin, or 0.3 points.

    The differences are taken to vary as those seen; None where they do not, where nothing was
    planned, and without a margin of any other metric than accuracy.
    """
    std = row.pairs and row.pairs.difference.std
    has_gap = comparison.margin is not None or comparison.metric.name == "accuracy"
    if not std or not has_gap or len(comparison.plan.stages) > 1:
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
        by_known_seed = {seed: value for seed, value in differences.items() if value is not None}
        seconds = [number(dig(result, "cost", "train_seconds")) for result in by_seed.values()]
        of_study = [value for seed, value in by_known_seed.items() if seed in seeds]
        n_runs = len(by_seed.keys() & set(seeds))
        numbers = [*by_known_seed.values()], [s for s in seconds if s]
        earlier[row] = EarlierRuns(*numbers, of_study, n_runs)
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
    gap = question.metric.gap
    prices, lines = {}, []
    for row, earlier in rows.items():
        if row == baseline or not (std := earlier.std):
            continue
        at_gap = question.price(std, question.gap, question.margin, earlier.study_differences)
        words = [_words(question, at_gap, f"{gap(question.gap)} apart")]
        if question.margin is not None:
            equal = question.price(std, 0.0, question.margin, earlier.study_differences)
            words.append(_words(question, equal, "equal"))
        spread = f"the difference varies by {gap(std)} ({len(earlier.differences)} earlier pairs)"
        lines.append(f"price of {row} against {baseline}: {spread}; {'; '.join(words)}")
        prices[row] = at_gap.pairs
    others = [row for row in rows if row != baseline and row not in prices]
    if others:
        in_units = (
            _words(question, question.price(1.0, units), f"{units:g} {name} apart")
            for units, name in _UNITS
        )
        lines.append(
            f"price of {', '.join(others)} against {baseline}: nothing is known yet of how the "
            f"difference varies; {'; '.join(in_units)}"
        )
    return [*lines, _in_all(question, rows, prices, baseline)]


def _words(question: Question, price: Price, where: str) -> str:
    seeds = "" if _is_fixed(question) else f"{price.pairs:.1f} seeds, "
    return f"if {where} {seeds}decided with {100 * price.chance:.0f} %"


def _is_fixed(question: Question) -> bool:
    return question.is_fixed or is_single_look(question.plan)


def _in_all(
    question: Question, rows: Mapping[str, EarlierRuns], prices: Mapping[str, float], baseline: str
) -> str:
    """Return the line about the runs of the whole study that are still to be trained."""
    seeds = {row: prices.get(row, question.most) for row in rows if row != baseline}
    seeds[baseline] = max(seeds.values(), default=question.most)
    all_seconds = [s for earlier in rows.values() for s in earlier.seconds]
    typical = float(np.mean(all_seconds)) if all_seconds else math.nan
    cost = {row: float(np.mean(e.seconds)) if e.seconds else typical for row, e in rows.items()}
    quotes = []
    for n_of_row in (seeds, dict.fromkeys(rows, question.most)):
        left = {row: max(0, n - rows[row].n_runs) for row, n in n_of_row.items()}
        quotes.append((sum(left.values()), sum(n * cost[row] for row, n in left.items())))
    is_fixed = _is_fixed(question)
    names = ("", "") if is_fixed else ("about ", "at most ")
    texts = [
        f"{name}{runs:.0f} runs" + (f" in {duration(time)} of training" if all_seconds else "")
        for name, (runs, time) in zip(names, quotes, strict=True)
    ]
    source = (
        f"by {len(all_seconds)} earlier runs" if all_seconds else "nothing is known of their time"
    )
    return f"price of what is left: {', '.join(texts[is_fixed or not prices :])}; {source}"
