"""Do verdicts hold on real runs? Equal recipes on disjoint seeds, and a difference that is known.

    python benchmarks/real_nulls.py [--data digits] [--runs 40] [--studies 200] [--folder DIR]
    CIFARLAB_DATA=DATA python benchmarks/real_nulls.py --data cifar10 --runs 40 --studies 20

``--runs`` runs of one recipe with different seeds, and as many of it with wrong training labels,
are each trained once; their accuracies are kept in ``--folder``, so that a program that was stopped
goes on. A study of equal recipes draws twice ten of the first runs, without repetition: its verdict
is by construction wrong. Studies draw from the same runs, so that they are not independent: the
standard error beside their number is that of independent ones. A study of the known difference
pairs ten seeds of both recipes. Its price is quoted from its first three pairs.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from _results import write_result
from _validity import mean

from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.price import price
from cifarlab.stats.sequential import Plan, first_rejections
from cifarlab.training.train import train

PLAN = Plan.up_to(10)
# a run takes about a second, and half a minute, on one core
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": ("quickstart", {"training.duration": "4 epochs"}),
    "cifar10": (
        "speed/94",
        {
            "training.duration": "2 epochs",
            "data.train_subset_fraction": 0.1,
            "data.val_fraction": 0.0,
            "evaluation.tta_views": 1,
            "evaluation.tta_threshold": None,
        },
    ),
}
NOISE = {"data.label_noise": {"kind": "symmetric", "noise_rate": 0.1}}


def accuracies(data: str, noisy: bool, n_runs: int, folder: Path) -> np.ndarray:
    """Return the test accuracies of seeds 0 to n - 1; those in the folder are not trained again."""
    name, settings = RECIPES[data]
    recipe = change(find(name), {**settings, **(NOISE if noisy else {})})
    file = folder / f"{data}{'-noise' if noisy else ''}.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    known = {run["seed"]: run["accuracy"] for run in map(json.loads, lines)}
    for seed in range(n_runs):
        if seed in known:
            continue
        start_time = time.perf_counter()
        with tempfile.TemporaryDirectory() as directory:
            run = RunFolder(Path(directory) / "run")
            result = train(change(recipe, {"seed": seed}), run, callbacks=(), command="benchmark")
        known[seed] = result["test"]["accuracy"]
        with file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"seed": seed, "accuracy": known[seed]}) + "\n")
        seconds = time.perf_counter() - start_time
        print(f"{file.stem}, seed {seed}: {100 * known[seed]:.2f} %, {seconds:.1f} s", flush=True)
    return np.array([known[seed] for seed in range(n_runs)])


def equal_recipes(values: np.ndarray, n_studies: int) -> dict[str, Any]:
    """Return how many studies of equal recipes on disjoint seeds call them different."""
    draws = np.random.default_rng(0)
    seeds = np.array([draws.permutation(len(values))[:20] for _ in range(n_studies)])
    studies = values[seeds[:, :10]] - values[seeds[:, 10:]]
    ordinary = [first_rejections(studies, Plan.once(n)) > 0 for n in range(3, 11)]
    return {
        "studies": n_studies,
        "called_different": int((first_rejections(studies, PLAN) > 0).sum()),
        "called_different_by_a_t_test_after_each_seed": int(np.any(ordinary, axis=0).sum()),
        "expected_at_most": ALPHA * n_studies,
        "error_of_a_count": float(np.sqrt(ALPHA * (1 - ALPHA) * n_studies)),
    }


def known_difference(clean: np.ndarray, noisy: np.ndarray, n_studies: int) -> dict[str, Any]:
    """Return how many seeds decide about the noise, and how many were quoted after three."""
    draws = np.random.default_rng(1)
    seeds = np.array([draws.permutation(len(clean))[:10] for _ in range(n_studies)])
    studies = noisy[seeds] - clean[seeds]
    ends = first_rejections(studies, PLAN)
    first = studies[:, :3]
    quotes = [
        price(float(std), float(difference), PLAN)
        for std, difference in zip(first.std(axis=1, ddof=1), first.mean(axis=1), strict=True)
        if std > 0
    ]
    figures = {
        "decided": mean(ends > 0),
        "seeds_needed": mean(np.where(ends, ends, PLAN.most)),
        "seeds_quoted_after_three": mean([quote.pairs for quote in quotes]),
    }
    differences = noisy - clean
    overall = price(float(differences.std(ddof=1)), float(differences.mean()), PLAN)
    return {
        "difference_points": 100 * float(differences.mean()),
        "std_points": 100 * float(differences.std(ddof=1)),
        **{name: figure.value for name, figure in figures.items()},
        "errors": {name: figure.error for name, figure in figures.items()},
        "seeds_quoted_from_all_runs": overall.pairs,
        "decided_quoted_from_all_runs": overall.chance,
    }


def main() -> None:
    """Train what is missing, count verdicts, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=RECIPES, default="digits")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path("runs/real-nulls"))
    options = parser.parse_args()
    if options.runs < 20:
        parser.error("a study of equal recipes has twice ten seeds: --runs 20 or more")
    options.folder.mkdir(parents=True, exist_ok=True)
    clean, noisy = (
        accuracies(options.data, noisy, options.runs, options.folder) for noisy in (False, True)
    )
    payload: dict[str, Any] = {
        "runs": options.runs,
        "mean": float(clean.mean()),
        "std": float(clean.std(ddof=1)),
        "equal_recipes": equal_recipes(clean, options.studies),
        "label_noise": known_difference(clean, noisy, options.studies),
    }
    print(json.dumps(payload, indent=2))
    print(write_result(f"real-nulls-{options.data}", "cpu", payload))


if __name__ == "__main__":
    main()
