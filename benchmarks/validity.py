"""Do the verdicts hold what they promise? Simulations in which the truth is known.

    python benchmarks/validity.py [--studies 20000] [--quick]

Each figure stands with its Monte Carlo error (one standard error) and, where something is promised,
with the bounds that it has to keep within three such errors; else the exit code is 1. Differences
are in units of their standard deviation. ``--quick`` simulates 4,000 studies, or 400 where that
takes long, and writes no result.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
from _results import write_result
from _validity import Figure, Figures, choice, coverage_of_images, mean, power
from scipy.stats import ttest_1samp

from cifarlab.stats.online_fdr import next_level
from cifarlab.stats.paired import ALPHA, holm
from cifarlab.stats.sequential import (
    Plan,
    equivalence_ps,
    first_rejections,
    sequential_interval,
    sequential_ps,
)

TEN, ROWS = Plan.up_to(10), 10
EFFECTS = (0.5, 1.0, 1.5, 2.0, 3.0, 5.0)
IMAGES = 359  # test images of the digits: accuracies are multiples of 1/359
N_BOOKS, N_CLAIMS = 1_000, 100


def looking(draws: np.random.Generator, n_studies: int) -> Figures:
    """Equal recipes, a look after each seed: how many studies call some row different."""
    studies = draws.standard_normal((n_studies, 10))
    ordinary = np.stack([ttest_1samp(studies[:, :n], 0, axis=1)[1] for n in range(3, 11)])
    figures = {
        "a paired t test after each seed from 3 to 10": mean((ordinary <= ALPHA).any(axis=0)),
        "1 row, sequential p up to 10": mean(first_rejections(studies, TEN) > 0, ALPHA),
        "1 row, one look at 10": mean(first_rejections(studies, Plan.once(10)) > 0, ALPHA),
    }
    longer = draws.standard_normal((n_studies, 30))
    figures["1 row, open plan, 30 seeds"] = mean(first_rejections(longer, Plan.open()) > 0, ALPHA)
    for n_real in (0, 5):
        ps = row_ps(draws, n_studies, n_real)
        name = f"{ROWS} rows, {n_real} of them real"
        equal = holm(ps)[:, n_real:] <= ALPHA
        figures[f"{name}, Holm"] = mean(equal.any(axis=1), ALPHA)
        figures[f"{name}, not corrected"] = mean((ps[:, n_real:] <= ALPHA).any(axis=1))
    return figures


def row_ps(draws: np.random.Generator, n_studies: int, n_real: int) -> np.ndarray:
    """Return the sequential p values (R, rows) after 10 seeds; all rows share one baseline."""
    values = draws.standard_normal((n_studies, 1 + ROWS, 10)) / np.sqrt(2)
    differences = values[:, 1:] - values[:, :1]
    differences[:, :n_real] += 2.0
    return sequential_ps(differences.reshape(-1, 10), TEN)[:, -1].reshape(n_studies, ROWS)


def unusual(draws: np.random.Generator, n_studies: int) -> Figures:
    """Equal recipes whose differences are not normal: not promised, but good to know."""
    shape = (n_studies, 10)
    points = {std: draws.normal(0, std / 100, shape) for std in (0.2, 0.5, 1.0)}
    kinds = {
        **{
            f"accuracies of {IMAGES} images, std {std} points": np.round(values * IMAGES) / IMAGES
            for std, values in points.items()
        },
        "heavy tails (t with 3 degrees of freedom)": draws.standard_t(3, shape),
        "skewed (chi-squared with 4 degrees of freedom)": draws.chisquare(4, shape) - 4,
    }
    return {name: mean(first_rejections(each, TEN) > 0) for name, each in kinds.items()}


def finding(draws: np.random.Generator, n_studies: int) -> Figures:
    """Recipes that differ: found how often, and after how many seeds."""
    figures = {}
    for most in (10, 20):
        for effect in EFFECTS:
            studies = draws.normal(effect, 1, (n_studies, most))
            ends = first_rejections(studies, Plan.up_to(most))
            seeds = mean(np.where(ends, ends, most))
            name = f"d_z {effect}, up to {most}"
            figures[f"{name}: found"] = mean(ends > 0)
            figures[f"{name}: seeds"] = seeds
            figures[f"{name}: found by one look at {most}"] = Figure(power(effect, most), 0.0)
            low = int(seeds.value)  # a study of 6.3 seeds has 6, or 7 in three of ten cases
            part = seeds.value - low
            at_low, slope = power(effect, low), power(effect, low + 1) - power(effect, low)
            mixed = Figure(at_low + part * slope, slope * seeds.error)
            figures[f"{name}: found by one look at as many seeds"] = mixed
    return figures


def within_margin(draws: np.random.Generator, n_studies: int) -> Figures:
    """A difference of just the margin: called the same, or not worse; and no difference."""
    figures = {}
    for ratio in (1.0, 2.0, 4.0):
        for difference in (ratio, 0.0):
            studies = draws.normal(-difference, 1, (n_studies, 10))
            same = equivalence_ps(studies, TEN, ratio)[:, -1] <= ALPHA
            above = first_rejections(studies, TEN, -ratio, "greater") > 0
            bound = ALPHA if difference else None
            name = f"margin {ratio} std, true difference {-difference}"
            figures[f"{name}: the same"] = mean(same, bound)
            figures[f"{name}: not worse"] = mean(above, bound)
    return figures


def coverage(draws: np.random.Generator, n_studies: int) -> Figures:
    """The sequential interval of studies that stop when they are decided, or after 10 seeds."""
    figures = {}
    for effect in (0.0, 0.5, 1.0, 2.0, 5.0):
        studies = draws.normal(effect, 1, (n_studies, 10))
        ends = first_rejections(studies, TEN)
        seeds_taken = {
            "when it stops": np.where(ends, ends, 10),
            "after 10": np.full_like(ends, 10),
        }
        for name, seeds in seeds_taken.items():
            intervals = (
                sequential_interval(study[:n], TEN)
                for study, n in zip(studies.tolist(), seeds.tolist(), strict=True)
            )
            figures[f"d_z {effect}, {name}"] = mean(
                [low <= effect <= high for low, high in filter(None, intervals)], at_least=0.95
            )
    return figures


def discoveries(draws: np.random.Generator, n_studies: int) -> Figures:
    """Books of claims, each decided by a study of its own: false ones among the acceptances."""
    figures = {}
    n_books = max(50, n_studies * N_BOOKS // 20_000)
    for fraction in (0.0, 0.1, 0.5):
        real = draws.random((n_books, N_CLAIMS)) < fraction
        differences = draws.normal(2.0 * real[..., None], 1, (*real.shape, 10))
        ps = sequential_ps(differences.reshape(-1, 10), TEN, side="greater")[:, -1]
        ps = ps.reshape(real.shape)
        accepted = np.zeros(real.shape, bool)
        for claim in range(N_CLAIMS):
            levels = np.array([next_level(claim, n) for n in range(claim + 1)])
            accepted[:, claim] = ps[:, claim] <= levels[accepted.sum(axis=1)]
        for name, taken in (("judged", accepted), ("each at 0.05", ps <= ALPHA)):
            wrong = (taken & ~real).sum(axis=1) / np.maximum(1, taken.sum(axis=1))
            key = f"{fraction:.0%} real, {name}"
            figures[f"{key}: false"] = mean(wrong, ALPHA if name == "judged" else None)
            if fraction:
                figures[f"{key}: real ones accepted"] = mean(
                    (taken & real).sum(axis=1) / np.maximum(1, real.sum(axis=1))
                )
    return figures


CHEAP = {looking, unusual, finding, within_margin, coverage_of_images}
SECTIONS = {
    "equal recipes called different": looking,
    "equal recipes with unusual differences": unusual,
    "recipes that differ": finding,
    "equivalence and non-inferiority": within_margin,
    "coverage of sequential intervals": coverage,
    "coverage over seeds and images": coverage_of_images,
    "false discoveries in a record book": discoveries,
    "choice among many on one test set": choice,
}


def main() -> None:
    """Simulate, print, write the result; exit 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=20_000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    n_studies = 400 if options.quick else options.studies
    payload: dict[str, Any] = {"studies": n_studies}
    broken, start_time = [], time.perf_counter()
    for number, (title, simulate) in enumerate(SECTIONS.items()):
        print(title)
        payload[title] = {}
        n = 10 * n_studies if options.quick and simulate in CHEAP else n_studies
        for name, figure in simulate(np.random.default_rng([19, number]), n).items():
            payload[title][name] = {
                key: round(value, 5) for key, value in figure._asdict().items() if value is not None
            }
            broken += [] if figure.holds else [f"{title}: {name}"]
            mark = "" if figure.holds else "  NOT AS PROMISED"
            print(f"  {name}: {figure.value:.4f} ± {figure.error:.4f}{mark}", flush=True)
    payload["seconds"] = round(time.perf_counter() - start_time, 1)
    if not options.quick:
        print(f"{payload['seconds']} s, written to {write_result('validity', 'cpu', payload)}")
    if broken:
        sys.exit("not as promised: " + "; ".join(broken))


if __name__ == "__main__":
    main()
