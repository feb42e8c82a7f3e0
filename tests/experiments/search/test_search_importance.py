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
    points_drawn = points(40)
    scores = [point["decides"] for point in points_drawn]
    found = measure_importance(SPACE, points_drawn, scores)
    assert found[0].key == "decides"
    assert sum(one.fraction for one in found) == pytest.approx(1)
    first = found[0]
    assert first.fraction > 0.6 and first.low > first.chance
    assert all(0 <= one.low <= one.high <= 1 for one in found)
    assert all(one.fraction < one.chance for one in found[1:])


def test_more_trials_narrow_the_interval() -> None:
    widths = []
    for count in (12, 150):
        points_drawn = points(count)
        first = measure_importance(SPACE, points_drawn, [point["decides"] for point in points_drawn])[0]
        widths.append(first.high - first.low)
    assert widths[1] < 0.7 * widths[0]


def test_the_same_trials_give_the_same_numbers() -> None:
    points_drawn = points(10)
    scores = [float(n) for n in range(10)]
    assert measure_importance(SPACE, points_drawn, scores) == measure_importance(SPACE, points_drawn, scores)


def test_nothing_is_said_of_too_little() -> None:
    few = points(MIN_TRIALS - 1)
    assert measure_importance(SPACE, few, [float(n) for n in range(len(few))]) == ()
    enough = points(MIN_TRIALS)
    assert measure_importance(SPACE, enough, [0.5] * MIN_TRIALS) == ()
    one = {"decides": SPACE["decides"]}
    alone = [{"decides": point["decides"]} for point in enough]
    assert measure_importance(one, alone, [float(n) for n in range(MIN_TRIALS)]) == ()


def test_conditional_keys_are_judged_where_they_are() -> None:
    points_drawn = points(30)
    for point in points_drawn[::2]:
        del point["nothing"]
    found = measure_importance(SPACE, points_drawn, [point["decides"] for point in points_drawn])
    assert {one.key for one in found} == set(SPACE) and found[0].key == "decides"
