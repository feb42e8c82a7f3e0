"""The one-sided bound of a paired gain: it errs in 5 % at most, also where few images differ."""

import numpy as np
import pytest
from scipy.stats import binom

from cifarlab.stats.intervals import lower_bound_of_gain, paired_gain


@pytest.mark.parametrize(("n", "margin"), [(100, 0.05), (200, 0.02)])
@pytest.mark.parametrize("gained", [0.0, 0.005, 0.02])
def test_a_network_just_inferior_passes_in_five_percent_at_most(
    n: int, margin: float, gained: float
) -> None:
    """Summed over all outcomes, where the true gain is exactly minus the margin."""
    lost, passes = gained + margin, 0.0
    for n_lost in range(n + 1):
        chances = binom.pmf(np.arange(n - n_lost + 1), n - n_lost, gained / (1 - lost))
        chances *= binom.pmf(n_lost, n, lost)
        for n_gained in np.flatnonzero(chances > 1e-7).tolist():
            if lower_bound_of_gain(n_gained, n_lost, n) > -margin:
                passes += chances[n_gained]
    assert 0.01 < passes <= 0.05


def test_few_images_show_little_even_where_none_differs() -> None:
    assert lower_bound_of_gain(0, 0, 144) == pytest.approx(-0.0184, abs=1e-4)
    assert lower_bound_of_gain(0, 0, 5000) == pytest.approx(-0.00054, abs=1e-5)


def test_with_many_flips_it_is_close_to_the_interval_s_end_at_90_percent() -> None:
    right = np.arange(5000) % 10 > 0
    gain = paired_gain(np.roll(right, 1), right)
    low, high = gain["interval"]
    end = gain["gain"] - (high - low) / 2 * 1.645 / 1.96
    assert lower_bound_of_gain(500, 500, 5000) == pytest.approx(end, abs=2e-5)


@pytest.mark.parametrize("n", [1, 50])
def test_the_ends(n: int) -> None:
    assert lower_bound_of_gain(0, n, n) == -1
    assert -1 < lower_bound_of_gain(n, 0, n) < 1
