"""The end of a run: the result, on validation and, once, on the test split."""

import statistics
from dataclasses import replace
from typing import Any

import numpy as np

from cifarlab.data.dataset import Subset
from cifarlab.evaluation.activity import silent_units
from cifarlab.evaluation.measure import fit_temperature, measure, predict
from cifarlab.evaluation.test_split import open_test_split
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.tta import confidence_threshold
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.text import fingerprint
from cifarlab.runs.predictions import Predictions
from cifarlab.system.device import peak_memory
from cifarlab.system.errors import DataError
from cifarlab.system.files import sha256
from cifarlab.training.run import Run
from cifarlab.training.stop import ending


def finish(run: Run) -> dict[str, Any]:
    """Measure the selected weights, keep their predictions, write result.json.

    A test split that can't be opened costs the run nothing else: the result says so in a note.
    Raises StorageError.
    """
    predictor, about = _selected(run)
    evaluation, notes = run.recipe.evaluation, list(run.notes)
    splits: dict[str, Any] = {}
    temperature: dict[str, Any] | None = None
    with run.clock.running("evaluate"):
        predictor = _with_threshold(run, predictor, about)
        if run.validation:
            told = _predicted(run, predictor, "val", run.validation)
            temperature = fit_temperature(told)
            splits["val"] = measure(told, temperature["value"])
        silent = silent_units(predictor, *_seen(run))
        try:
            if evaluation.test:
                opened = run.dataset, run.recipe.data, run.folder
                test = open_test_split(*opened, by="train", command=run.command)
                told = _predicted(run, predictor, "test", test)
                splits["test"] = measure(told, temperature["value"] if temperature else None)
        except DataError as error:
            notes.append(f"no test result: {error.what}")
    best = run.state.best
    result = {
        "recipe": run.recipe.name,
        "fingerprint": fingerprint(run.recipe),
        "data": run.dataset.name,
        "parameters": sum(
            p.numel() for group in run.state.optimizer.param_groups for p in group["params"]
        ),
        "epochs": run.state.epoch,
        "steps": run.state.step,
        "ended": ending(run),
        "evaluated": {
            "checkpoint": evaluation.checkpoint,
            "epoch": about.epoch,
            "views": evaluation.views,
            "unsure": evaluation.unsure,
            "tta_threshold": predictor.tta_threshold,
        },
        "weights_sha256": {
            file.stem: sha256(file)
            for file in (run.checkpoints.last, run.checkpoints.best)
            if file.exists()
        },
        "best": {"epoch": best.epoch, "val_accuracy": best.val_accuracy} if best else None,
        **splits,
        "temperature": temperature,
        "silent_units": silent,
        "notes": notes,
        "cost": _cost(run),
    }
    run.folder.write_result(result)
    return result


def _selected(run: Run) -> tuple[Predictor, WeightsFile]:
    """The predictor that the recipe wants measured, and what its weights file says."""
    if run.recipe.evaluation.checkpoint == "best" and run.state.best:
        about = run.checkpoints.read_best(run.state.best)
        return Predictor.load(run.checkpoints.best), about
    return run.predictor, run.about


def _with_threshold(run: Run, predictor: Predictor, about: WeightsFile) -> Predictor:
    """The predictor with the confidence below which images get further views, kept on the disk.

    It has the recipe's already, where that says one; else the recipe's share of the validation
    images lies below it.
    """
    evaluation, held_out = run.recipe.evaluation, run.validation
    if evaluation.unsure == 1 or held_out is None:
        return predictor
    first = predictor.logits(held_out.images, 1, held_out.indices)
    threshold = confidence_threshold(first, evaluation.unsure)
    about = replace(about, tta_threshold=threshold)
    if evaluation.checkpoint == "best":
        about.write(run.checkpoints.best, predictor.classifier)
    else:
        run.checkpoints.write_last(run.state, about)
    return replace(predictor, tta_threshold=threshold)


def _seen(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Images that silent units are looked for on, and their places: held out, else trained on."""
    if run.validation:
        return run.validation.images, run.validation.indices
    return run.dataset.read("train").images, run.loader.indices.numpy()


def _predicted(run: Run, predictor: Predictor, split: str, subset: Subset) -> Predictions:
    predictions = predict(predictor, subset, run.recipe.evaluation.views)
    predictions.write(run.folder.predictions / f"{split}.safetensors")
    return predictions


def _cost(run: Run) -> dict[str, float | None]:
    """Time over all starts of the run; memory of this start."""
    lines = run.folder.metrics.read()
    speeds = [line["cost"]["images_per_second"] for line in lines]
    known = [speed for speed in speeds if speed is not None]
    seconds = run.clock.seconds
    return {
        "compile_seconds": seconds["compile"],
        "train_seconds": seconds["train"],
        "evaluate_seconds": seconds["evaluate"],
        "images_per_second": statistics.median(known) if known else None,
        "peak_memory_bytes": peak_memory(run.compute.device),
    }
