"""The judge's rules on made pairs: each verdict, its reason, and how often it is wrong."""

from typing import Any

import numpy as np
import pytest

from cifarlab.experiments.judge.claims import CANDIDATE, INCUMBENT, Claim, Lap, Score
from cifarlab.experiments.judge.rules import decide, summarize_race
from cifarlab.stats.sequential import Plan, sequential_interval

NOISE = [0.001, -0.002, 0.0015, -0.001, 0.002, -0.0015, 0.0005, 0.0, -0.0005, 0.001]


def claim(goal: str = "accuracy", **changes: Any) -> Claim:
    values = {
        "number": 1,
        "name": "made-1",
        "time": "2026-01-01T00:00:00+00:00",
        "first_seed": 1,
        "most": 10,
        "folder": "judge/made-1",
        "command": "cifarlab judge",
        "candidate": "made lr=2",
        "incumbent": "made lr=1",
        "recipes": {},
        "candidate_fingerprint": "a",
        "incumbent_fingerprint": "b",
        "goal": goal,
        "margin": 0.2,
        "level": 0.01,
    }
    return Claim(**{**values, **changes})


def laps(differences: Any, log_speedups: Any = NOISE, **facts: Any) -> list[Lap]:
    return [
        Lap(
            seed=seed,
            scores={
                INCUMBENT: Score(accuracy=0.9, seconds=10.0),
                CANDIDATE: Score(accuracy=0.9 + gain, seconds=float(10.0 * np.exp(-speedup))),
            },
            **facts,
        )
        for seed, (gain, speedup) in enumerate(zip(differences, log_speedups, strict=True))
    ]


def shifted(shift: float, scale: float = 1.0) -> list[float]:
    return [shift + scale * noise for noise in NOISE]


def verdict(pairs: list[Lap], made_claim: Claim) -> tuple[str, str]:
    decision = decide(pairs, made_claim)
    return decision.verdict, decision.reason


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        (shifted(0.01), ("accepted", "better")),
        (shifted(-0.01), ("rejected", "worse")),
        (shifted(0.0, 0.5), ("rejected", "the same within 0.2 points")),
        (shifted(-0.001, 1.6), ("rejected", "no gain of 0.2 points or more")),
        (shifted(0.002, 4), ("undecided", "")),
    ],
)
def test_accuracy(differences: list[float], expected: tuple[str, str]) -> None:
    assert verdict(laps(differences), claim()) == expected


def test_what_is_worse_has_an_interval_below_zero() -> None:
    draws, n_worse = np.random.default_rng(3), 0
    for _ in range(200):
        differences = draws.normal(-0.002, 0.0015, 6).tolist()
        if verdict(laps(differences, NOISE[:6]), claim())[1] == "worse":
            interval = sequential_interval(differences, Plan.up_to(10))
            n_worse += 1
            assert interval and interval[1] < 0
    assert n_worse > 50


def test_nothing_is_decided_before_the_first_look() -> None:
    assert verdict([], claim()) == verdict(laps(shifted(0.05)[:2], NOISE[:2]), claim())
    assert verdict(laps(shifted(0.05)[:2], NOISE[:2]), claim()) == ("undecided", "")


@pytest.mark.parametrize(
    ("differences", "speedups", "expected"),
    [
        (shifted(0.0), shifted(0.1), ("accepted", "faster, and not worse by more than 0.2 points")),
        (shifted(0.01), shifted(-0.1), ("rejected", "slower")),
        (shifted(0.01), shifted(0.001), ("rejected", "not faster by 2 % or more")),
        (shifted(-0.01), shifted(0.5), ("rejected", "worse by more than 0.2 points")),
        (shifted(-0.002), shifted(0.5), ("undecided", "")),
    ],
)
def test_time_to_accuracy(differences: Any, speedups: Any, expected: tuple[str, str]) -> None:
    assert verdict(laps(differences, speedups), claim("time-to-accuracy", margin=0.2)) == expected


def test_a_wider_margin_lets_a_faster_variant_pass() -> None:
    pairs = laps(shifted(-0.002), shifted(0.5))
    assert verdict(pairs, claim("time-to-accuracy", margin=1.0))[0] == "accepted"


def test_the_same_bits_are_no_gain_and_not_worse() -> None:
    same = laps([0.0] * 3, [0.0] * 3, is_identical=True)
    reason = "what was changed does nothing: the same predictions in all 3 pairs"
    assert verdict(same, claim()) == ("rejected", reason)
    # what acts on some seeds alone may show later
    assert verdict(same[:2], claim()) == ("undecided", "")
    assert verdict([*same, *laps([0.01], [0.0])], claim()) == ("undecided", "")
    faster = laps([0.0] * 10, shifted(0.1), is_identical=True)
    assert verdict(faster, claim("time-to-accuracy"))[0] == "accepted"
    one_differs = [*faster[:-1], faster[-1].model_copy(update={"is_identical": False})]
    assert verdict(one_differs, claim("time-to-accuracy"))[0] == "undecided"


def test_seconds_of_other_machines_are_not_compared() -> None:
    pairs = laps(shifted(0.0), shifted(0.5), obstacle="seed 0 has another device on each side")
    decision = decide(pairs, claim("time-to-accuracy"))
    assert decision.verdict == "undecided" and "another device" in decision.reason
    assert summarize_race(pairs, 10, times_count=True).speedup is None
    worse = laps(shifted(-0.01), shifted(0.5), obstacle="another device")
    assert verdict(worse, claim("time-to-accuracy"))[0] == "rejected"


def test_the_level_decides_what_is_accepted() -> None:
    pairs = laps(shifted(0.002), NOISE)
    p = decide(pairs, claim(level=1e-9)).p["better"]
    assert 0 < p < 0.05
    assert verdict(pairs, claim(level=p))[0] == "accepted"
    assert verdict(pairs, claim(level=0.99 * p))[0] != "accepted"


def test_the_summary_holds_when_a_race_stops() -> None:
    pairs = laps(shifted(0.01), shifted(0.1))
    assert summarize_race(pairs, 10, times_count=False).speedup is None
    assert summarize_race(pairs[:1], 10, times_count=True).speedup is None  # it has no interval
    evidence = summarize_race(pairs, 10, times_count=True)
    assert evidence.difference == pytest.approx(np.mean(shifted(0.01)))
    expected = sequential_interval(shifted(0.01), Plan.up_to(10))
    assert evidence.difference_interval == pytest.approx(expected)
    assert evidence.speedup == pytest.approx(np.exp(np.mean(shifted(0.1))))
    low, high = evidence.speedup_interval or (0, 0)
    assert 1 < low < evidence.speedup < high


@pytest.mark.parametrize(("goal", "shift"), [("accuracy", 0.0), ("time-to-accuracy", -0.005)])
def test_a_candidate_that_is_no_better_is_seldom_accepted(goal: str, shift: float) -> None:
    """At a level of 20 %, so that few races show it; the margin is as large as the true loss."""
    draws, n_races, n_accepted = np.random.default_rng(1), 300, 0
    made_claim = claim(goal, level=0.2, margin=0.5, most=8)
    for _ in range(n_races):
        pairs = laps(draws.normal(shift, 0.002, 8), draws.normal(0.3, 0.01, 8))
        looks = (decide(pairs[:n], made_claim).verdict for n in range(3, 9))
        n_accepted += next((v for v in looks if v != "undecided"), "") == "accepted"
    error = (0.2 * 0.8 / n_races) ** 0.5
    assert 0.02 < n_accepted / n_races < 0.2 + 3 * error
