"""Simulations of the judge: claims at the levels of a record book, and races to their verdict."""

import numpy as np
from _validity import Figures, mean

from cifarlab.experiments.judge.claims import CANDIDATE, INCUMBENT, Claim, Lap, Score
from cifarlab.experiments.judge.rules import decide
from cifarlab.stats.online_fdr import next_level
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.sequential import FIRST_LOOK, Plan, sequential_ps

MOST, N_CLAIMS = 10, 100
# of one run of speed/94 on two cores, n = 3 (results/speedrun-speed-94_cpu_2026-11-26.json)
STD_ACCURACY, STD_SECONDS = 0.0021, 0.044
RACES: tuple[tuple[str, float, float, float], ...] = (  # goal, margin, gain, speedup
    *(
        ("time-to-accuracy", margin, 0.0, speedup)
        for margin in (0.2, 0.5, 1.0)
        for speedup in (0.0, 0.05, 0.1)
    ),
    *(("accuracy", 0.2, gain, 0.0) for gain in (0.0, 0.2, 0.4, 0.8)),
)


def book_levels(draws: np.random.Generator, n_studies: int) -> Figures:
    """Useless candidates, whose mean difference is 0: accepted at the levels of a book.

    The promise is for normal differences. The others say what it costs where they are not.
    """
    shape = (5 * n_studies, MOST)
    failures = draws.random(shape) < 0.1
    kinds = {
        "normal": draws.standard_normal(shape),
        "heavy tails (t with 3 degrees of freedom)": draws.standard_t(3, shape),
        "skewed to the left (chi-squared with 4 degrees of freedom)": 4 - draws.chisquare(4, shape),
        "skewed to the left (exponential)": 1 - draws.exponential(1, shape),
        "a little better, but fails in 10 % of seeds": np.where(failures, -9.0, 1.0)
        + draws.normal(0, 0.5, shape),
    }
    levels = np.array([next_level(n, 0) for n in range(N_CLAIMS)])
    n_books = max(50, n_studies // 20)
    figures = {}
    for name, differences in kinds.items():
        ps = sequential_ps(differences, Plan.up_to(MOST), 0.0, "greater")[:, -1]
        is_promised = name == "normal"
        for claim in (1, 10):
            level = float(levels[claim - 1])
            bound = level if is_promised else None
            figures[f"{name}: claim {claim}, p <= {level:.4f}"] = mean(ps <= level, bound)
        books = draws.choice(ps, (n_books, N_CLAIMS)) <= levels
        bound = ALPHA if is_promised else None
        figures[f"{name}: any of {N_CLAIMS} claims"] = mean(books.any(axis=1), bound)
    return figures


def races(draws: np.random.Generator, n_studies: int) -> Figures:
    """Races at the spread of speed/94, judged as the first claim of a book, up to 10 pairs.

    Runs are taken to be independent: pairs on a quiet machine vary less. Speedups are of seconds.
    """
    figures = {}
    for goal, margin, gain, speedup in RACES:
        # what the rules read of a claim
        claim = Claim.model_construct(goal=goal, margin=margin, most=MOST, level=next_level(0, 0))
        ends = [race(draws, claim, gain, speedup) for _ in range(max(20, n_studies // 20))]
        name = f"{goal}, margin {margin}, "
        name += f"{gain:+.1f} points" if goal == "accuracy" else f"{speedup:.0%} faster"
        for verdict in ("accepted", "rejected", "undecided"):
            figures[f"{name}: {verdict}"] = mean([end[0] == verdict for end in ends])
        figures[f"{name}: pairs"] = mean([n for _, n in ends])
    return figures


def race(draws: np.random.Generator, claim: Claim, gain: float, speedup: float) -> tuple[str, int]:
    """Return the verdict of a race and after how many pairs it came; gain is in points."""
    accuracies = draws.normal((0.93, 0.93 + gain / 100), STD_ACCURACY, (MOST, 2))
    seconds = np.exp(draws.normal((0.0, -np.log1p(speedup)), STD_SECONDS, (MOST, 2)))
    laps = [
        Lap(
            seed=seed,
            scores={
                side: Score(accuracy=accuracies[seed, n], seconds=seconds[seed, n])
                for n, side in enumerate((INCUMBENT, CANDIDATE))
            },
        )
        for seed in range(MOST)
    ]
    for n in range(FIRST_LOOK, MOST + 1):
        verdict = decide(laps[:n], claim).verdict
        if verdict != "undecided":
            return verdict, n
    return "undecided", MOST
