"""An automatic loop of twenty changes, most of them useless, with and without the judge.

python examples/automatic_loop.py

Without it, the loop keeps whatever scored higher once. With it, the loop keeps what the judge
accepts. At the end each recipe is trained with seeds that neither loop has seen. The runs go to
./runs; ``--short`` tries the first four changes alone.
"""

import sys
from collections.abc import Sequence
from typing import Any

import cifarlab as lab
from cifarlab.stats.paired import compare_pairs
from cifarlab.system.errors import UserError

START = {
    "training.duration": "2 epochs",
    "training.precision": "float32",
    "training.batch_size": 128,
    "model.stem_width": 8,
    "model.channels": [8, 16, 16],
    "optimizer.lr": 0.01,  # too low: one of the changes mends it
    "evaluation.test": False,  # settings are still being chosen: the test split stays closed
}
CHANGES: list[dict[str, Any]] = [
    {"optimizer.weight_decay": 0.00051},
    {"seed": 1},
    {"optimizer.lr": 0.1},
    {"optimizer.momentum": 0.901},
    {"loss.label_smoothing": 0.001},
    {"augment.degrees": 0.1},
    {"evaluation.metric": "macro_f1"},
    {"optimizer.lr": 0.101},
    {"optimizer.weight_decay": 0.00049},
    {"seed": 2},
    {"optimizer.momentum": 0.899},
    {"loss.label_smoothing": 0.002},
    {"model.dropout": 0.001},
    {"training.batch_size": 127},
    {"augment.translate": 0.001},
    {"training.clip_grad_norm": 1000.0},
    {"optimizer.weight_decay": 0.0},
    {"schedule.end_factor": 0.001},
    {"optimizer.momentum": 0.902},
    {"training.batch_size": 129},
]
Outcome = tuple[lab.Recipe, list[dict[str, Any]], float]


def keep_what_scores_higher(start: lab.Recipe, changes: Sequence[dict[str, Any]]) -> Outcome:
    """Return what a loop without a judge ends with: recipe, changes kept, the gain that it saw."""
    recipe, kept = start, []
    first = best = accuracy(recipe)
    for change in changes:
        candidate = lab.find_recipe(recipe, change)
        if (score := accuracy(candidate)) > best:
            recipe, best = candidate, score
            kept.append(change)
    return recipe, kept, best - first


def keep_what_is_accepted(start: lab.Recipe, changes: Sequence[dict[str, Any]]) -> Outcome:
    """Return what a loop with the judge ends with: recipe, changes kept, the gain that it saw."""
    recipe, kept, gain = start, [], 0.0
    for change in changes:
        try:
            judged = lab.judge(recipe, recipe, change, margin=2.0, most=6, log=lambda _: None)
        except UserError as error:
            print(f"refused   {change}: {error.what}")
            continue
        print(f"{judged.verdict:9} {change}: {judged.reason}")
        if judged.is_accepted:
            recipe = lab.find_recipe(recipe, change)
            kept.append(change)
            gain += judged.json["evidence"]["difference"]
    return recipe, kept, gain


def accuracy(recipe: lab.Recipe) -> float:
    """Train a recipe once and return its accuracy on the validation images."""
    return float(lab.train(recipe, callbacks=()).result["val"]["accuracy"])


def accuracies(recipe: lab.Recipe, n_seeds: int) -> list[float]:
    """Return a recipe's accuracies with seeds that no loop has seen."""
    seeds = range(5000, 5000 + n_seeds)
    return [accuracy(lab.find_recipe(recipe, {"seed": seed})) for seed in seeds]


def main(n_changes: int, n_seeds: int) -> None:
    """Run both loops and print what each kept, and what that is worth."""
    start, changes = lab.find_recipe("quickstart", START), CHANGES[:n_changes]
    loops = {
        "without the judge": keep_what_scores_higher(start, changes),
        "with the judge": keep_what_is_accepted(start, changes),
    }
    base = accuracies(start, n_seeds)
    for name, (recipe, kept, gain) in loops.items():
        true_gain = compare_pairs(accuracies(recipe, n_seeds), base).difference
        low, high = true_gain.interval or (0.0, 0.0)
        print(f"{name}: kept {len(kept)} of {len(changes)} changes: {kept}")
        print(
            f"  saw {100 * gain:+.1f} points; on {n_seeds} fresh seeds {100 * true_gain.mean:+.1f}"
            f" (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
        )
    print(lab.records())


if __name__ == "__main__":
    main(*((4, 2) if "--short" in sys.argv else (len(CHANGES), 10)))
