"""Figures of README and docs/numbers.md are those of benchmarks/results."""

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README, NUMBERS = (
    " ".join((ROOT / page).read_text(encoding="utf-8").split())
    for page in ("README.md", "docs/numbers.md")
)


def result(what: str, device: str = "cpu") -> dict[str, Any]:
    [file] = (ROOT / "benchmarks" / "results").glob(f"{what}_{device}_*.json")
    loaded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return loaded


def test_the_run_to_94_per_cent() -> None:
    ours = result("speedrun-speed-94")
    peer = ours["peers"]["airbench94_muon"]
    accuracy, seconds = ours["summary"]["accuracy"], ours["summary"]["seconds"]
    mean, peer_mean = f"{accuracy['mean']:.2%}", f"{peer['accuracy']['mean']:.2%}"
    mean, peer_mean = mean.replace("%", " %"), peer_mean.replace("%", " %")
    times = f"{seconds['mean']:.0f} s", f"{peer['seconds']['mean']:.0f} s"
    std = f"std {100 * accuracy['std']:.2f}"
    assert f"| {mean}, {std}, {times[0]}, n = {ours['summary']['n']} |" in NUMBERS
    assert f"| {peer_mean}, {times[1]}, n = {peer['n']}: " in NUMBERS
    assert f"takes {ours['ratios']['airbench94_muon']:.2f} of its time" in NUMBERS
    assert f"{mean} on CIFAR-10 after {times[0]}" in README
    assert f"{peer_mean} after {times[1]}" in README


def test_equal_recipes_called_different() -> None:
    equal = result("real-nulls-digits")["equal_recipes"]
    n, by_t_test = equal["called_different"], equal["called_different_by_a_t_test_after_each_seed"]
    expected, error = equal["expected_at_most"], equal["error_of_a_count"]
    studies = f"of {equal['studies']} studies of digits runs"
    assert f"{studies} ({expected:.0f} are expected, give or take {error:.0f})" in NUMBERS
    assert f"* | {n}; a t test after each seed: {by_t_test} |" in NUMBERS
    assert f"Of {equal['studies']} questions about equal recipes {n} were answered" in README
    assert f"by a t test after each seed {by_t_test}." in README


def test_speeds() -> None:
    training, evaluation = result("throughput-resnet18-128"), result("evaluate")
    assert evaluation["n"] == 5
    medians = [row["median"] for row in evaluation["corruptions"].values()]
    ours, usual = (statistics.harmonic_mean([m[k] for m in medians]) for k in ("cifarlab", "usual"))
    assert f"{ours:,.0f} of {usual:,.0f} images/s: {ours / usual:.0f} times as fast" in NUMBERS
    rates = training["median"]
    assert f"{rates['cifarlab']:.0f} images/s, n = 7 |" in NUMBERS
    assert f"{rates['usual']:.0f} images/s: cifarlab is" in NUMBERS


def test_where_not_all_values_are_kept() -> None:
    assert "of the server it has the range of the repeats, of the loggers n alone" in NUMBERS
    ways = [way for network in result("serve")["networks"].values() for way in network.values()]
    assert all(len(way["range"]) == 2 and way["p50_ms"] > 0 for way in ways)
    parts = [part for tool in result("loggers")["seconds"].values() for part in tool.values()]
    assert all(set(part) == {"n", "processor", "clock"} for part in parts)
