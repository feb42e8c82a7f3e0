"""Numbers in words."""

import math

import pytest

from cifarlab.system import formatting


@pytest.mark.parametrize("value", [None, "x", True, math.nan, math.inf, [], {}])
def test_no_number_is_a_dash(value):
    for write in (
        formatting.percent,
        formatting.count,
        formatting.seconds,
        formatting.memory,
        formatting.interval,
    ):
        assert write(value) == formatting.NOTHING


@pytest.mark.parametrize(
    "time, text",
    [
        (0, "0.0 s"),
        (0.0069, "7 ms"),
        (0.0994, "99 ms"),
        (0.0995, "0.1 s"),
        (59.9, "59.9 s"),
        (59.97, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (11520, "3 h 12 min"),
    ],
)
def test_times(time, text):
    assert formatting.seconds(time).replace("\u00a0", " ") == text


def test_sizes_and_fractions():
    assert formatting.memory(512 * 2**20) == "512\u00a0MiB"
    assert formatting.memory(2**30) == "1.00\u00a0GiB"
    assert formatting.percent(0.861) == "86.10\u00a0%"
    assert formatting.interval([0.854, 0.8677]) == "85.40–86.77\u00a0%"


def test_plain_values():
    assert formatting.to_line({"torch": "2.11", "cuda": None}) == "torch 2.11, cuda —"
    assert formatting.to_line([0.1 + 0.2, True, 3]) == "0.3, yes, 3"
