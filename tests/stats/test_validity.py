"""benchmarks/validity.py notices a promise that is not kept; real_nulls.py counts verdicts."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from cifarlab.stats.sequential import Plan, PlanStage

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The two programs as modules."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import real_nulls
    import validity

    return SimpleNamespace(validity=validity, real_nulls=real_nulls)


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    module.main()


def test_all_promises_are_kept_in_few_simulations(benchmarks, monkeypatch, capsys) -> None:
    run(benchmarks.validity, monkeypatch, "--quick")
    printed = capsys.readouterr().out
    assert all(title in printed for title in benchmarks.validity.SECTIONS)
    assert "NOT AS PROMISED" not in printed


def test_a_plan_that_spends_too_much_is_noticed(benchmarks, monkeypatch, capsys) -> None:
    careless = Plan((PlanStage(3, 10, 3.0),))  # three times the error rate
    monkeypatch.setattr(benchmarks.validity, "TEN", careless)
    with pytest.raises(SystemExit, match=r"not as promised.*1 row, sequential p up to 10"):
        run(benchmarks.validity, monkeypatch, "--quick")
    assert "NOT AS PROMISED" in capsys.readouterr().out


def test_holm_of_many_tables_is_that_of_each(benchmarks) -> None:
    from cifarlab.stats.paired import holm

    ps = np.random.default_rng(0).random((6, 5)) ** 4
    slow = [[p <= 0.05 for p in holm(row)] for row in ps.tolist()]
    assert benchmarks.validity.holm_rejects(ps).tolist() == slow and np.any(slow)


def test_verdicts_on_trained_runs_are_counted(benchmarks) -> None:
    draws = np.random.default_rng(0)
    equal = benchmarks.real_nulls.equal_recipes(draws.normal(0.9, 0.01, 400), 300)
    most = equal["expected_at_most"] + 3 * equal["error_of_a_count"]
    assert equal["called_different"] <= most
    assert equal["called_different_by_a_t_test_after_each_seed"] > most
    clean = draws.normal(0.9, 0.002, 40)
    known = benchmarks.real_nulls.known_difference(clean, clean - draws.normal(0.01, 0.002, 40), 50)
    assert known["decided"] > 0.9 and 3 <= known["seeds_needed"] < 5
    assert known["seeds_quoted_from_all_runs"] == pytest.approx(known["seeds_needed"], abs=0.6)


def test_a_run_is_trained_once(benchmarks, monkeypatch, tmp_path) -> None:
    trained = []

    def train(recipe, folder, **_):
        trained.append((recipe.seed, recipe.data.label_noise.kind))
        return {"test": {"accuracy": recipe.seed / 100}}

    monkeypatch.setattr(benchmarks.real_nulls, "train", train)
    for n_runs in (2, 3):
        values = benchmarks.real_nulls.accuracies("digits", True, n_runs, tmp_path)
    assert values.tolist() == [0.0, 0.01, 0.02]
    assert trained == [(0, "symmetric"), (1, "symmetric"), (2, "symmetric")]


def test_the_recipes_of_all_data_are_sound(benchmarks) -> None:
    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import change

    for name, settings in benchmarks.real_nulls.RECIPES.values():
        assert change(find(name), {**settings, **benchmarks.real_nulls.NOISE}).evaluation.test
