"""Importance finds what decides, and says when it can't."""

import numpy as np
import pytest

from cifarlab.experiments.search.importance import MIN_TRIALS, measure_importance
from cifarlab.experiments.search.space import Choice, LogUniform, Uniform

SPACE = {
    "decides": Uniform(low=0, high=1),
    "nothing": LogUniform(low=1e-4, high=1e-2),
    "neither": Choice(values=("a", "b")),
}


def points(count: int, seed: int = 0) -> list[dict[str, object]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "decides": float(rng.random()),
            "nothing": float(10 ** rng.uniform(-4, -2)),
            "neither": str(rng.choice(["a", "b"])),
        }
        for _ in range(count)
    ]


def test_the_key_that_decides_is_first_and_beyond_chance() -> None:
    drawn = points(40)
    scores = [point["decides"] for point in drawn]
    importances = measure_importance(SPACE, drawn, scores)
    assert importances[0].key == "decides"
    assert sum(row.fraction for row in importances) == pytest.approx(1)
    first = importances[0]
    assert first.fraction > 0.6 and first.low > first.chance
    assert all(0 <= row.low <= row.high <= 1 for row in importances)
    assert all(row.fraction < row.chance for row in importances[1:])


def test_more_trials_narrow_the_interval() -> None:
    widths = []
    for count in (12, 150):
        drawn = points(count)
        first = measure_importance(SPACE, drawn, [point["decides"] for point in drawn])[0]
        widths.append(first.high - first.low)
    assert widths[1] < 0.7 * widths[0]


def test_the_same_trials_give_the_same_numbers() -> None:
    drawn = points(10)
    scores = [float(n) for n in range(10)]
    assert measure_importance(SPACE, drawn, scores) == measure_importance(SPACE, drawn, scores)


def test_too_few_trials_or_keys_give_nothing() -> None:
    few = points(MIN_TRIALS - 1)
    assert measure_importance(SPACE, few, [float(n) for n in range(len(few))]) == ()
    sample = points(MIN_TRIALS)
    assert measure_importance(SPACE, sample, [0.5] * MIN_TRIALS) == ()
    single_key = {"decides": SPACE["decides"]}
    single_values = [{"decides": point["decides"]} for point in sample]
    assert (
        measure_importance(single_key, single_values, [float(n) for n in range(MIN_TRIALS)]) == ()
    )


def test_conditional_keys_are_judged_where_they_are() -> None:
    drawn = points(30)
    for point in drawn[::2]:
        del point["nothing"]
    importances = measure_importance(SPACE, drawn, [point["decides"] for point in drawn])
    assert {row.key for row in importances} == set(SPACE) and importances[0].key == "decides"
