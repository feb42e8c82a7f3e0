"""What an ensemble, a soup and a student of one study gain, and whether conformal sets keep 90 %.

    python benchmarks/combining.py [--folder FOLDER] [--recipe RECIPE] [KEY=VALUE]...

Three seeds of a short recipe on CIFAR-10 are trained on a fifth of the training images (9,000),
with 5,000 held out. They are combined in each way and compared on the validation and the test
images, paired by image; a soup that validation refuses is an answer, too. The sets of the first
seed and of the ensemble are calibrated on the validation images and counted on the test images, by
class. With --folder the runs are made there, and those that are there already are taken.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from _results import write_result

import cifarlab as lab
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import UserError

SEEDS, COVERAGES = 3, (0.9, 0.95)
RECIPE = "speed/94"
SHORT = [
    "data.train_subset_fraction=0.2",
    "data.val_fraction=0.1",
    "model.channels=[24, 64, 128]",
    "model.depths=[2, 2, 2]",
    "training.duration=6 epochs",
    "training.batch_size=250",
    "optimizer.whitening.until=1 epoch",
    "evaluation.tta_views=1",
    "evaluation.tta_threshold=null",
    "evaluation.test=false",
]


def main() -> None:
    """Train, combine, measure, print and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--recipe", default=RECIPE)
    parser.add_argument("settings", nargs="*", default=SHORT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = options.folder or Path(directory)
        payload = measure(folder, options.recipe, options.settings)
    print(f"written to {write_result('combining', 'cpu', payload)}")


def measure(folder: Path, recipe: str, settings: list[str]) -> dict[str, Any]:
    """Return all figures; runs are made in ``folder``."""
    start = time.perf_counter()
    paths = [
        train(folder / f"s{seed}", recipe, [*settings, f"seed={seed}"]) for seed in range(SEEDS)
    ]
    combinations = {
        method: combine(folder, paths, method) for method in ("ensemble", "soup", "distilled")
    }
    sets = {
        name: {str(coverage): measure_sets(folder / name, coverage) for coverage in COVERAGES}
        for name in ("s0", "ensemble")
    }
    return {
        "recipe": recipe,
        "settings": settings,
        "seeds": SEEDS,
        "data": lab.load_run(paths[0]).result["data"],
        "combinations": combinations,
        "sets": sets,
        "seconds": round(time.perf_counter() - start, 1),
    }


def train(path: Path, recipe: str, settings: list[str]) -> Path:
    """Train a run, if it is not there."""
    from cifarlab.recipes.text import apply_overrides

    if not RunFolder(path).is_finished:
        lab.train(apply_overrides(lab.find_recipe(recipe), settings, {}), run=path)
    return path


def combine(folder: Path, paths: list[Path], method: str) -> dict[str, Any]:
    """Combine the runs and return the figures, or why they were refused."""
    path = folder / method
    try:
        if not RunFolder(path).is_finished:
            lab.combine(paths, method, run=path, test=True)
    except UserError as error:
        print(f"{method}: {error.what}")
        return {"refused": error.what}
    run = lab.load_run(path)
    combination = run.result["combination"]
    print(method, *run.result["notes"], sep="\n  ")
    return {
        "same_training_images": combination["same_training_images"],
        "gain": {split: without_paths(row) for split, row in combination["gain"].items()},
        "cost": combination["cost"],
        "loss": run.result["test"]["loss"],
        "ece_calibrated": run.result["test"]["calibrated"]["ece"],
        "train_seconds": run.result["cost"]["train_seconds"],
    }


def without_paths(row: dict[str, Any]) -> dict[str, Any]:
    """Return a split's figures with the folder's name in place of its path."""
    return row | {"over_best": row["over_best"] | {"run": Path(row["over_best"]["run"]).name}}


def measure_sets(path: Path, coverage: float) -> dict[str, Any]:
    """Return what the sets of a run do on the test images."""
    evaluation = lab.evaluate(path, "test", coverage=coverage)
    sets: dict[str, Any] = evaluation.sets
    low, high = sets["interval"]
    print(
        f"{path.name}: accuracy {evaluation.accuracy:.4f}, sets for {coverage:g}: coverage "
        f"{sets['coverage']:.4f} ({low:.4f} to {high:.4f}), mean size {sets['mean_size']:.3f}, by "
        f"class {min(row['coverage'] for row in sets['per_class']):.3f} to "
        f"{max(row['coverage'] for row in sets['per_class']):.3f}"
    )
    return {"accuracy": evaluation.accuracy, **sets}


if __name__ == "__main__":
    main()
