"""Rows of the list: each run, and each recipe with its mean over seeds."""

import itertools
import statistics

import numpy as np
import pytest

from cifarlab.dashboard.tables import recipe_rows, run_rows
from cifarlab.report.groups import summarize
from cifarlab.run_folder.index import Entry

NAMES = {"g": "r", "h": "best"}


def entry(url_path: str, seed: int = 0, test: float | None = None, **other) -> Entry:
    usual = {"recipe": "r", "group": "g", "data": "digits", "is_finished": test is not None}
    return Entry(url_path, url_path, seed=seed, test=test, **{**usual, **other})


def test_a_recipe_has_the_mean_and_sample_std_of_its_seeds():
    accuracies = [0.9, 0.92, 0.97]
    rows = recipe_rows(
        [entry(str(seed), seed, accuracy) for seed, accuracy in enumerate(accuracies)], NAMES
    )
    assert len(rows) == 1
    row, values = rows[0], np.array(accuracies)
    assert row["n"] == 3
    assert row["test"] == pytest.approx(values.mean())
    assert row["test_std"] == pytest.approx(values.std(ddof=1))
    assert (row["test_min"], row["test_max"]) == pytest.approx((0.9, 0.97))
    assert (row["texts"]["test"], row["texts"]["test_std"]) == ("93.00", "3.61")


def test_a_single_seed_has_no_std():
    (row,) = recipe_rows([entry("a", 0, 0.9)], NAMES)
    assert (row["n"], row["test"], row["test_std"]) == (1, pytest.approx(0.9), None)


def test_of_a_repeated_seed_the_run_that_started_first_counts_in_any_order():
    """The first of the list once counted: sorted by accuracy, that is the best of equal seeds."""
    runs = [
        entry("c", 0, 0.8, start="2026-01-02T10:00:00+00:00"),
        entry("b", 0, 0.9, start="2026-01-01T10:00:00+00:00"),
        entry("d", 1, 0.7),
        entry("a", 0, 0.99, start="2026-01-03T10:00:00+00:00"),
    ]
    for order in itertools.permutations(runs):
        (row,) = recipe_rows(order, NAMES)
        assert (row["n"], row["runs"], row["n_left_out"]) == (2, 4, 2)
        assert row["test"] == pytest.approx(0.8)


def test_no_recipe_is_ranked_by_val_before_one_that_has_a_test_accuracy():
    finished = {"is_finished": True}
    runs = [
        entry("a", 0, None, val=0.99, group="h", **finished),
        entry("b", 0, 0.5, val=0.6),
        entry("c", 0, None, val=0.995, group="i", recipe="s", **finished),
    ]
    rows = recipe_rows(runs, {**NAMES, "i": "other"})
    assert [row["recipe"] for row in rows] == ["r", "other", "best"]


def test_the_summary_is_exact():
    summary = summarize([0.1, 0.1, 0.1])
    assert summary is not None and summary.std == 0
    values = np.random.default_rng(0).normal(1e6, 1e-3, 50).tolist()
    summary = summarize(values)
    assert summary is not None and summary.std == pytest.approx(statistics.stdev(values), rel=1e-12)


def test_unfinished_and_damaged_runs_are_in_no_mean():
    runs = [entry("a", 0, 0.9), entry("b", 1, val=0.5), entry("c", 2, 0.1, problem="torn")]
    (row,) = recipe_rows(runs, NAMES)
    assert (row["n"], row["n_left_out"], row["test"]) == (1, 1, pytest.approx(0.9))


def test_what_ended_early_is_in_no_mean_and_says_why():
    """A trial that ASHA stopped once counted as a seed of its recipe."""
    runs = [entry("a", 0, 0.9), entry("b", 1, 0.4, early_end="stopped by a search after 1 epoch")]
    (row,) = recipe_rows(runs, NAMES)
    assert (row["n"], row["n_left_out"], row["test"]) == (1, 1, pytest.approx(0.9))
    early = next(row for row in run_rows(runs, now=1e6) if row["url_path"] == "b")
    assert early["state"] == "ended early"
    assert early["titles"]["state"] == "stopped by a search after 1 epoch"


def test_recipes_come_best_first():
    runs = [entry("a", 0, 0.5), entry("b", 0, 0.9, group="h")]
    assert [row["recipe"] for row in recipe_rows(runs, NAMES)] == ["best", "r"]


def test_runs_come_newest_first_with_percentages_and_addresses():
    runs = [
        entry("old", 0, 0.5, last_modified=1.0, interval=(0.4, 0.6)),
        entry("a b/c#d?", 1, last_modified=2.0),
    ]
    new, old = run_rows(runs, now=1e6)
    assert new["links"]["run"] == "/run/a%20b/c%23d%3F" and new["test"] is None
    assert old["test"] == pytest.approx(0.5) and old["texts"]["test"] == "50.00"
    assert old["titles"]["test"] == "95 % interval 40.00–60.00\u00a0%"
    assert (new["state"], old["state"]) == ("stopped", "finished")
