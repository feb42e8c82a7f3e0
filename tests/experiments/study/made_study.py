"""A comparison and run folders, made up without training."""

from pathlib import Path

from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.recipes.catalog import Reported, find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.stats.sequential import Plan

ACCURACIES = {
    "base": [0.900, 0.904, 0.896],
    "better": [0.920, 0.925, 0.915],
    "failed": [],
}
REPORTED = {"base": Reported(accuracy=90), "better": Reported(accuracy=99)}


def made(data: str = "CIFAR-10", scale: float = 1.0, reported: bool = True) -> Comparison:
    outcomes = [
        Outcome(row, seed, f"{row}{seed}", data, test=value)
        for row, values in ACCURACIES.items()
        for seed, value in enumerate(values)
    ]
    outcomes.append(Outcome("failed", 0, failure="DivergenceError: NaN | at step 3"))
    numbers = REPORTED if reported else {}
    plan = Plan.once(3)
    return compare("made/up", list(ACCURACIES), "base", outcomes, numbers, scale, plan=plan)


def make_run(
    path: Path,
    accuracy: float | None = 0.9,
    *,
    recipe: str = "quickstart",
    seed: int = 0,
    changes: dict[str, object] | None = None,
    data: str = "digits",
    images: str = "images",
    stop_reason: str = "planned",
) -> Path:
    """A run folder with just what a comparison reads; unfinished without an accuracy.

    ``images`` are those that lay in ``data`` then.
    """
    made = change(find(recipe), {"seed": seed, **(changes or {})})
    write_run(RunFolder(path), made, accuracy, data, f"{images} of {data}", stop_reason)
    return path


def write_run(
    folder: RunFolder,
    made: Recipe,
    accuracy: float | None,
    data: str,
    images: str,
    stop_reason: str = "planned",
) -> None:
    folder.write_recipe(made)
    folder.write_provenance({"data": {"name": data, "fingerprint": images}})
    if accuracy is not None:
        split = {"n": 100, "fingerprint": "images"}
        folder.write_result(
            {
                "recipe": made.name,
                "fingerprint": fingerprint(made),
                "data": data,
                "epochs": 20,
                "stop_reason": stop_reason,
                "test": split | _metrics(accuracy),
                "val": split | _metrics(accuracy - 0.01),
                "notes": [],
                "cost": {"train_seconds": 1.0},
            }
        )


def _metrics(accuracy: float) -> dict[str, object]:
    """A log loss that says the opposite of the accuracy: less is better."""
    return {"accuracy": accuracy, "metrics": {"accuracy": accuracy, "log_loss": 2 - accuracy}}
