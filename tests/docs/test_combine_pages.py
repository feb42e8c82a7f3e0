"""The pages about combinations and sets: their figures are the measured ones."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import beta

from cifarlab.system.formatting import points

ROOT = Path(__file__).parents[2]
[FILE] = (ROOT / "benchmarks" / "results").glob("combining_cpu_*.json")
RESULT = json.loads(FILE.read_text(encoding="utf-8"))


def read_page(name: str) -> str:
    """A page with each run of white space as one space."""
    return re.sub(r"\s+", " ", (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))


def with_bounds(gain: dict[str, Any]) -> str:
    low, high = map(points, gain["interval"])
    return f"{points(gain['gain'])} ({low} to {high})"


def percents(value: float, digits: int = 2) -> str:
    return f"{100 * value:.{digits}f}"


def percent_bounds(interval: list[float], digits: int = 2) -> str:
    return " to ".join(percents(value, digits) for value in interval)


@pytest.mark.parametrize("method", ["ensemble", "distilled"])
def test_the_gains_are_the_measured_ones(method: str) -> None:
    page, row = read_page("combine"), RESULT["combinations"][method]
    test, val, ratio = row["gain"]["test"], row["gain"]["val"], row["cost"]["ratio"]
    over = f"{with_bounds(test['over_mean'])} | {with_bounds(test['over_best'])} | {ratio:.2f}"
    assert f"| {method} | {percents(test['accuracy'])} % | {over} x" in page
    assert f"{percents(val['accuracy'])} %, {with_bounds(val['over_mean'])}" in page
    best = test["members"][val["members"].index(max(val["members"]))]
    assert (
        f"mean ({percents(test['mean'])} %) | over the best by validation ({percents(best)} %)"
        in page
    )
    assert test["over_best"]["selected_by"] == "val"


def test_the_refusal_is_the_measured_one() -> None:
    message = (
        RESULT["combinations"]["soup"]["refused"].replace("\u00a0", " ").split(" on 5,000 ")[1]
    )
    assert f"error: this soup is worse than its members' mean: on 5,000 {message}" in read_page(
        "combine"
    )
    soup, members, gain, low, high = re.findall(r"-?\d+\.\d+", message)
    row = f"on validation {soup} %, members {members} %: {gain} ({low} to {high})"
    assert row in read_page("combine")


def test_the_gain_of_continuations_is_the_measured_one() -> None:
    page, row = read_page("combine"), RESULT["combinations"]["soup of continuations"]
    test, val, ratio = row["gain"]["test"], row["gain"]["val"], row["cost"]["ratio"]
    best = test["members"][val["members"].index(max(val["members"]))]
    cells = (
        f"{percents(test['accuracy'])} %",
        f"{with_bounds(test['over_mean'])}, of {percents(test['mean'])} %",
        f"{with_bounds(test['over_best'])}, of {percents(best)} %",
        f"{ratio:.2f} x",
    )
    assert f"| soup of two continuations of the first seed | {' | '.join(cells)} |" in page
    assert f"{percents(val['accuracy'])} %, {with_bounds(val['over_mean'])}" in page


@pytest.mark.parametrize(("run", "name"), [("s0", "one seed"), ("ensemble", "ensemble")])
@pytest.mark.parametrize("coverage", ["0.9", "0.95"])
def test_the_sets_are_the_measured_ones(run: str, name: str, coverage: str) -> None:
    sets = RESULT["sets"][run][coverage]
    single, classes = sets["single_class"], sorted(sets["per_class"], key=lambda c: c["coverage"])
    ends = " to ".join(
        f"{percents(c['coverage'], 1)} ({c['class']})" for c in (classes[0], classes[-1])
    )
    cells = (
        name,
        f"{percents(sets['accuracy'])} %",
        f"{100 * float(coverage):g} %",
        f"{percents(sets['coverage'])} % ({percent_bounds(sets['interval'])})",
        f"{sets['mean_size']:.2f}",
        ends,
        f"{percents(single['fraction'], 1)} %",
        f"{percents(single['accuracy'], 1)} %",
    )
    assert f"| {' | '.join(cells)} |" in read_page("sets")


def test_each_class_has_the_measured_coverage() -> None:
    page = read_page("sets")
    columns = [
        RESULT["sets"][run][c]["per_class"] for run in ("s0", "ensemble") for c in ("0.9", "0.95")
    ]
    for rows in zip(*columns, strict=True):
        cells = [f"{percents(r['coverage'], 1)} ({percent_bounds(r['interval'], 1)})" for r in rows]
        assert f"| {rows[0]['class']} | {' | '.join(cells)} |" in page


def test_how_coverage_varies_is_by_its_distribution() -> None:
    """Over the draw of n calibration images: Beta(k, n + 1 - k), with k the threshold's rank."""
    deviations = [percents(beta(k, n + 1 - k).std(), 1) for n, k in ((5000, 4501), (144, 131))]
    many, few = deviations
    text = f"varies by {many} points (standard deviation), with 144 by {few}."
    assert f"with 5,000 of them, coverage on other images {text}" in read_page("sets")
