"""What an ensemble, a soup and a student of one study gain, and whether conformal sets keep 90 %.

    python benchmarks/combining.py [--folder FOLDER] [--recipe RECIPE] [KEY=VALUE]...

A study of three seeds of a short recipe on CIFAR-10 is trained on a fifth of the training images
(9,000), with 5,000 held out. It is combined in each way and compared on the validation and the test
images, paired by image; a soup that validation refuses is an answer, too. So is the soup of two
continuations of the first seed, by one epoch each at another learning rate. The sets of the first
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
from cifarlab.evaluation.measure import predict
from cifarlab.evaluation.run_evaluation import open_split
from cifarlab.evaluation.sets import measure_sets
from cifarlab.experiments.study.finished_runs import find_runs
from cifarlab.inference.run_predictor import calibrate_sets
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.recipes.schema import Extension
from cifarlab.recipes.text import parse_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import UserError
from cifarlab.training.extend import extend_run

SEEDS, COVERAGES = 3, (0.9, 0.95, 0.99)
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
    study = train_study(folder, recipe, settings)
    first, *_ = find_runs(study).folders
    continuations = [continue_run(first, schedule) for schedule in ("hold", "restart")]
    combinations = {
        "ensemble": combine(folder / "ensemble", [study], "ensemble"),
        "soup": combine(folder / "soup", [study], "soup"),
        "soup of continuations": combine(folder / "continued-soup", continuations, "soup"),
        "distilled": combine(folder / "distilled", [study], "distilled"),
    }
    sets = {
        name: measure_coverages(path)
        for name, path in (("s0", first.path), ("ensemble", folder / "ensemble"))
    }
    return {
        "recipe": recipe,
        "settings": settings,
        "seeds": SEEDS,
        "data": lab.load_run(first.path).result["data"],
        "combinations": combinations,
        "sets": sets,
        "seconds": round(time.perf_counter() - start, 1),
    }


def train_study(folder: Path, recipe: str, settings: list[str]) -> Path:
    """Train a study of one row, as far as it is not there, and return its folder."""
    overrides = {key: parse_yaml(value) for key, value in (s.split("=", 1) for s in settings)}
    row = lab.StudyRow(name="short", recipe=recipe, overrides=overrides)
    study = lab.Study(name="combining", n_seeds=SEEDS, rows=(row,))
    path = lab.study(study, runs=folder, resume=True).path
    assert path
    return path


def continue_run(folder: RunFolder, schedule: str) -> Path:
    """Train a finished run for one epoch more, if that is not there, and return its folder."""
    target = RunFolder(folder.path.with_name(f"{folder.path.name}+1-epoch-{schedule}"))
    if not target.is_finished:
        extension = Extension.model_validate({"duration": "1 epoch", "schedule": schedule})
        recipe = target.recipe() if target.exists else extend_run(folder, extension)[0]
        lab.train(recipe, run=target.path, resume=True)
    return target.path


def combine(path: Path, paths: list[Path], method: str) -> dict[str, Any]:
    """Combine the runs and return the figures, or why they were refused."""
    try:
        if "combination" not in (RunFolder(path).result() or {}):
            lab.combine(paths, method, run=path, test=True)
    except UserError as error:
        print(f"{path.name}: {error.what}")
        return {"refused": error.what}
    run = lab.load_run(path)
    combination = run.result["combination"]
    print(path.name, *run.result["notes"], sep="\n  ")
    return {
        "same_training_images": combination["same_training_images"],
        "gain": {split: without_paths(row) for split, row in combination["gain"].items()},
        "cost": combination["cost"],
        "loss": run.result["test"]["loss"],
        "ece_calibrated": run.result["test"]["calibrated"]["ece"],
        "train_seconds": run.result["cost"]["train_seconds"],
    }


def without_paths(row: dict[str, Any]) -> dict[str, Any]:
    """Return a split's figures with the folders' names in place of their paths."""
    over = {k: row[k] for k in ("over_best", "over_teacher") if k in row}
    over = {k: v | {"run": Path(v["run"]).name} for k, v in over.items()}
    return row | over


def measure_coverages(path: Path) -> dict[str, Any]:
    """Return what a run's sets of each coverage do on the test images, which are opened once."""
    run = open_split(RunFolder(path), "test", "evaluate", "benchmarks/combining.py", None)
    predictions = predict(run.predictor, run.subset, run.recipe.evaluation.tta_views)
    probabilities = scaled_softmax(predictions.logits, run.folder.temperature() or 1.0)
    labels, classes = predictions.labels, predictions.classes
    accuracy = float((probabilities.argmax(1) == labels).mean())
    figures = {}
    for coverage in COVERAGES:
        conformal = calibrate_sets(run.folder, coverage)
        sets = measure_sets(conformal, probabilities, labels, classes)
        low, high = sets["interval"]
        by_class = [row["coverage"] for row in sets["per_class"]]
        print(
            f"{path.name}: accuracy {accuracy:.4f}, sets for {coverage:g}: coverage "
            f"{sets['coverage']:.4f} ({low:.4f} to {high:.4f}), mean size {sets['mean_size']:.3f}, "
            f"by class {min(by_class):.3f} to {max(by_class):.3f}"
        )
        figures[str(coverage)] = {"accuracy": accuracy, **sets}
    return figures


if __name__ == "__main__":
    main()
