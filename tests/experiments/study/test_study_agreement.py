"""A report's number against our runs: levels on the same data, differences elsewhere."""

import json

import pytest
from matplotlib.text import Text

from cifarlab.experiments.study.agreement import Agreement, correlate_ranks
from cifarlab.experiments.study.comparison import Outcome, compare
from cifarlab.experiments.study.figure import figure
from cifarlab.experiments.study.table import csv_text, markdown
from cifarlab.plots.draw import draw
from cifarlab.recipes.catalog import Reported
from cifarlab.run_folder.schemas import as_json

ROWS = {"a": [0.80, 0.81, 0.79], "b": [0.84, 0.86, 0.85], "c": [0.70, 0.71, 0.72]}


def compare_made(reported, data="CIFAR-10", scale=1.0, rows=ROWS):
    outcomes = [
        Outcome(row, seed, f"{row}{seed}", data, test=value)
        for row, values in rows.items()
        for seed, value in enumerate(values)
    ]
    numbers = {
        row: number if isinstance(number, Reported) else Reported(accuracy=number)
        for row, number in reported.items()
    }
    comparison = compare("t", list(rows), "a", outcomes, numbers, scale)
    return comparison, {line.name: line.agreement for line in comparison.rows}


@pytest.mark.parametrize(
    ("number", "agrees"), [(80.0, True), (84.9, True), (75.1, True), (85.1, False), (74.9, False)]
)
def test_a_level_is_held_against_where_a_single_run_would_lie(number, agrees):
    # mean 80, standard deviation 1, three runs: 80 +- 4.302653 * sqrt(1 + 1/3) = 75.03 to 84.97
    _, agreements = compare_made({"a": number})
    assert agreements["a"].agrees == agrees and agreements["a"].basis == "level"
    word = "agrees" if agrees else "differs"
    assert agreements["a"].words.startswith(f"{word}: {number:.2f} is ")
    assert "75.03 to 84.97" in agreements["a"].words
    assert agreements["b"] == (None, "", "", None)


def test_of_shortened_runs_only_differences_are():
    # b - a: 4, 5, 6 points: 5 +- 4.97; c - a: -10, -10, -7
    comparison, agreements = compare_made({"a": 93, "b": 98.5, "c": 60}, scale=0.1)
    assert agreements["a"].agrees is None and "reference" in agreements["a"].words
    assert agreements["b"].agrees is True and agreements["b"].expected == pytest.approx(0.055)
    assert "+5.50 is in +0.03 to +9.97" in agreements["b"].words
    assert agreements["c"].agrees is False and agreements["c"].basis == "difference"
    assert (comparison.rank_correlation.tau, comparison.rank_correlation.n) == (pytest.approx(1), 3)


def test_a_difference_needs_the_baseline_s_number():
    _, agreements = compare_made({"b": 98}, scale=0.1)
    assert agreements["b"].agrees is None and agreements["b"].words == "no baseline number"


@pytest.mark.parametrize(
    "data", ["digits", "CIFAR-10 (mine)", "/home/me/cifar-10-batches-py", "CIFAR-100 (fine)"]
)
def test_no_number_stands_beside_other_data(data):
    comparison, agreements = compare_made({"a": 93.21, "b": 98.76}, data)
    assert set(agreements.values()) == {Agreement()} and comparison.rank_correlation is None
    assert comparison.notes[-1] == f"The reported numbers are on CIFAR-10, not on {data}: left out."
    texts = [markdown(comparison), csv_text(comparison), json.dumps(as_json(comparison))]
    texts += [text.get_text() for text in draw(figure(comparison)).findobj(Text)]
    assert not any(number in text for text in texts for number in ("93.21", "98.76", "0.932"))
    same_data = markdown(compare_made({"a": 93.21}, "CIFAR-10")[0])
    assert "93.21" in same_data


def test_another_split_is_named():
    _, agreements = compare_made({"a": Reported(accuracy=80, split="val")})
    assert agreements["a"].agrees is True
    assert agreements["a"].words.endswith("(theirs: validation, ours: test)")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([0.8], "one run: no interval"),
        ([0.8, 0.8], "do not vary"),
        ([0.1, 0.1, 0.8], "too few, for how much they vary"),
    ],
)
def test_without_spread_or_with_too_much_there_is_no_agreement(values, reason):
    _, agreements = compare_made({"a": 80}, rows={"a": values})
    assert agreements["a"].agrees is None and reason in agreements["a"].words


def test_a_row_without_runs_has_no_agreement():
    assert compare_made({"a": 80, "gone": 90})[1]["a"].agrees
    comparison = compare(
        "t", ["a", "b"], "a", [Outcome("a", 0, "f", "CIFAR-10", test=0.8)], {"b": _number(90)}
    )
    assert comparison.rows[1].agreement.words == ""


def _number(accuracy):
    return Reported(accuracy=accuracy)


def slow_tau(ours, theirs):
    """Concordant minus discordant pairs over all pairs, for numbers without ties."""
    names = list(ours)
    signs = [
        1 if (ours[x] - ours[y]) * (theirs[x] - theirs[y]) > 0 else -1
        for i, x in enumerate(names)
        for y in names[:i]
    ]
    return sum(signs) / len(signs)


@pytest.mark.parametrize("theirs", [[1, 2, 3, 4], [4, 3, 2, 1], [2, 1, 3, 4], [3, 1, 4, 2]])
def test_the_order_of_the_rows(theirs):
    ours = dict(zip("abcd", [0.1, 0.2, 0.3, 0.4], strict=True))
    numbers = dict(zip("abcd", theirs, strict=True))
    assert correlate_ranks(ours, numbers).tau == pytest.approx(slow_tau(ours, numbers))


def test_one_row_or_all_alike_have_no_order():
    assert correlate_ranks({"a": 0.1}, {"a": 1}) is None
    assert correlate_ranks({"a": 0.1, "b": 0.1}, {"a": 1, "b": 2}) is None
