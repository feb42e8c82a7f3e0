"""The price of a study: what is said before it is paid, from runs that are there."""

from typing import Any

import numpy as np
import pytest
from statsmodels.stats.power import ttest_power

from cifarlab.experiments.study.price import EarlierRuns, Question, find_earlier_runs, quote
from cifarlab.metrics.kinds import ACCURACY
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.stats.sequential import Plan
from cifarlab.system.formatting import seconds as duration

DRAW = np.random.default_rng(0)
KNOWN = EarlierRuns(list(DRAW.normal(0, 0.002, 6)), [30.0] * 6)
NOTHING = EarlierRuns([], [])


def question(plan: Plan, margin: float | None = None, n_tests: int = 1) -> Question:
    return Question(plan, margin, ACCURACY, n_tests)


def test_a_row_s_price_is_of_the_margin_and_of_equal_rows() -> None:
    of_two = question(Plan.up_to(20), 0.002)
    row, total = quote(of_two, "base", {"base": KNOWN, "ours": KNOWN})
    std = KNOWN.std
    at_margin, equal = (of_two.price(std, d, 0.002) for d in (0.002, 0.0))
    assert row.startswith("price of ours against base: the difference varies by 0.")
    assert "points (6 earlier pairs); if 0.20 points apart" in row
    assert f"{at_margin.pairs:.1f} seeds, decided with {100 * at_margin.chance:.0f} %" in row
    assert f"if equal {equal.pairs:.1f} seeds, decided with {100 * equal.chance:.0f} %" in row
    n, time = 2 * at_margin.pairs, duration(2 * at_margin.pairs * 30)
    most = duration(40 * 30)
    assert f"about {n:.0f} runs in {time} of training, at most 40 runs in {most}" in total
    assert total.endswith("by 12 earlier runs")


def test_fixed_seeds_have_the_power_of_the_t_test() -> None:
    row, total = quote(question(Plan.once(5)), "base", {"base": KNOWN, "ours": KNOWN})
    chance = ttest_power(0.003 / KNOWN.std, 5, 0.05)
    stated = float(row.rpartition("decided with ")[2].split()[0])
    assert stated == pytest.approx(100 * chance, abs=2.5) and "seeds" not in row
    time = duration(300)
    assert total == f"price of what is left: 10 runs in {time} of training; by 12 earlier runs"
    assert question(Plan.once(1)).price(1.0, 9.0) == (1, 0.0)


def test_what_is_paid_is_not_quoted_again() -> None:
    begun = KNOWN._replace(study_differences=KNOWN.differences[:3], n_runs=3)
    total = quote(question(Plan.once(5)), "base", {"base": KNOWN._replace(n_runs=5), "ours": begun})
    assert total[-1].startswith(f"price of what is left: 2 runs in {duration(60)} of training")


@pytest.mark.parametrize("is_fixed", [True, False])
def test_a_study_whose_plan_is_open_ends_at_its_own_number_of_seeds(is_fixed: bool) -> None:
    """Runs were there before its plan, so that all looks count; it trains no hundred seeds."""
    open_plan = Question(Plan.open(), None, ACCURACY, 1, 5, is_fixed)
    row, total = quote(open_plan, "base", {"base": KNOWN, "ours": KNOWN})
    price = open_plan.price(KNOWN.std or 0, 0.003)
    assert price.pairs <= 5
    assert price.chance < question(Plan.up_to(5)).price(KNOWN.std or 0, 0.003).chance < 1
    assert f"decided with {100 * price.chance:.0f} %" in row and ("seeds" in row) != is_fixed
    assert f"{'left:' if is_fixed else 'at most'} 10 runs" in total


def test_where_nothing_is_known_it_says_so_and_counts_in_standard_deviations() -> None:
    lines = quote(question(Plan.up_to(10)), "base", {"base": NOTHING, "ours": NOTHING})
    assert lines[0].startswith("price of ours against base: nothing is known yet of how the diff")
    assert "if 1 standard deviation apart" in lines[0] and "if 2 standard dev" in lines[0]
    assert lines[1] == "price of what is left: at most 20 runs; nothing is known of their time"


def test_several_rows_and_pairs_that_are_there_cost_more_and_less() -> None:
    alone, among = (question(Plan.up_to(10), n_tests=n).price(0.002, 0.003) for n in (1, 10))
    assert among.chance < alone.chance and among.pairs > alone.pairs
    begun = question(Plan.up_to(10)).price(0.002, 0.02, first=[0.02, -0.02] * 3)
    assert begun.pairs > 6 > question(Plan.up_to(10)).price(0.002, 0.02).pairs


def test_earlier_runs_are_paired_by_seed_on_the_split_that_both_have() -> None:
    recipes = {"base": find("quickstart"), "ours": find("resnet18")}
    accuracies = {"base": {0: 0.90, 1: 0.91, 50: 0.92}, "ours": {0: 0.93, 1: 0.95, 3: 0.5}}

    class Folder:
        def __init__(self, tree: dict[str, Any]) -> None:
            self.result = lambda: tree

    def find_run(recipe: Recipe) -> Any:
        name = "base" if recipe.name == recipes["base"].name else "ours"
        if (accuracy := accuracies[name].get(recipe.seed)) is None:
            return None
        split = {"metrics": {"accuracy": accuracy}}
        closed = {"val": {"metrics": {"accuracy": accuracy - 0.01}}}  # its test split is closed
        tree = {"val": split} if (name, recipe.seed) == ("base", 1) else {"test": split, **closed}
        return Folder({**tree, "cost": {"train_seconds": 2.0}})

    earlier = find_earlier_runs(recipes, "base", [1, 2, 50], find_run, "accuracy")
    assert earlier["ours"].differences == pytest.approx([0.03, 0.94 - 0.91])
    assert earlier["ours"].study_differences == earlier["ours"].differences[1:]
    assert earlier["ours"].seconds == [2.0] * 3
    assert (earlier["ours"].n_runs, earlier["base"].n_runs) == (1, 2)
    assert len(earlier["base"].seconds) == 3 and NOTHING.std is None
