"""The end of a run: the result, on validation and, once, on the test split."""

import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifarlab.data.dataset import Subset
from cifarlab.evaluation.activity import dead_units
from cifarlab.evaluation.measure import measure, measure_temperature, predict
from cifarlab.evaluation.test_split import open_test_split
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.tta import confidence_threshold
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.device_memory import peak_memory
from cifarlab.system.errors import DataError
from cifarlab.system.files import sha256
from cifarlab.system.signals import StopReason
from cifarlab.training.run import Run


def finish(run: Run, reason: StopReason) -> dict[str, Any]:
    """Measure the selected weights, save their predictions, write result.json and return it.

    Where the test split can't be opened, the result says so in a note and lacks that score alone.
    ``reason`` is what ended the training.

    Raises:
        StorageError: the disk refused
        CheckpointError: ``best`` is not the file that its epoch saved
    """
    predictor, weights_file = _load_selected(run)
    evaluation, notes = run.recipe.evaluation, list(run.notes)
    splits: dict[str, Any] = {}
    temperature: dict[str, Any] | None = None
    with run.clock.profile("evaluate"):
        predictor = _add_threshold(run, predictor, weights_file)
        if run.validation:
            predictions = _predict_split(run, predictor, "val", run.validation)
            temperature = measure_temperature(predictions)
            splits["val"] = measure(predictions, temperature["value"], metrics=run.recipe.metrics)
        subset = run.validation or run.dataset.read("train")
        indices = run.validation.indices if run.validation else run.loader.indices.numpy()
        dead = dead_units(predictor, subset.images, indices)
        try:
            if evaluation.test:
                source = run.dataset, run.recipe.data, run.folder
                test = open_test_split(*source, opener="train", command=run.command)
                predictions = _predict_split(run, predictor, "test", test)
                value = temperature["value"] if temperature else None
                splits["test"] = measure(predictions, value, metrics=run.recipe.metrics)
        except DataError as error:
            notes.append(f"no test result: {error.what}")
    best, groups = run.state.best, run.state.optimizer.param_groups
    checkpoints = filter(Path.exists, (run.checkpoints.last, run.checkpoints.best))
    result = {
        "recipe": run.recipe.name,
        "fingerprint": fingerprint(run.recipe),
        "data": run.dataset.name,
        "parameters": sum(p.numel() for group in groups for p in group["params"]),
        "epochs": run.state.epoch,
        "steps": run.state.step,
        "stop_reason": reason,
        "evaluated": {
            "checkpoint": evaluation.checkpoint,
            "epoch": weights_file.epoch,
            "tta_views": evaluation.tta_views,
            "tta_fraction": evaluation.tta_fraction,
            "tta_threshold": predictor.tta_threshold,
        },
        "weights_sha256": {file.stem: sha256(file) for file in checkpoints},
        "best": best
        and {"epoch": best.epoch, "metric": evaluation.metric.name, "value": best.value},
        **splits,
        "temperature": temperature,
        "dead_units": dead,
        "notes": notes,
        "cost": _summarize_cost(run),
    }
    run.folder.write_result(result)
    return result


def _load_selected(run: Run) -> tuple[Predictor, WeightsFile]:
    """Return the predictor that the recipe wants measured, and its weights file's metadata."""
    best, wants_best = run.state.best, run.recipe.evaluation.checkpoint == "best"
    if best and (wants_best or run.checkpoints.best.exists()):  # the result has its hash as well
        weights_file = run.checkpoints.read_best(best)
        if wants_best:
            return Predictor.load(run.checkpoints.best), weights_file
    return run.predictor, run.weights_file


def _add_threshold(run: Run, predictor: Predictor, weights_file: WeightsFile) -> Predictor:
    """Return the predictor with the confidence below which images get further views.

    That is the recipe's threshold, or else the one below which the recipe's fraction of the
    validation images lies, which is also written into the weights file.
    """
    evaluation, held_out = run.recipe.evaluation, run.validation
    if evaluation.tta_fraction == 1 or held_out is None:
        return predictor
    logits = predictor.logits(held_out.images, 1, held_out.indices)
    threshold = confidence_threshold(logits, evaluation.tta_fraction)
    weights_file = replace(weights_file, tta_threshold=threshold)
    if evaluation.checkpoint == "best":
        weights_file.write(run.checkpoints.best, predictor.classifier)
    else:
        run.checkpoints.save_last(run.state, weights_file)
    return replace(predictor, tta_threshold=threshold)


def _predict_split(run: Run, predictor: Predictor, split: str, subset: Subset) -> Predictions:
    predictions = predict(predictor, subset, run.recipe.evaluation.tta_views)
    predictions.write(run.folder.predictions / f"{split}.safetensors")
    return predictions


def _summarize_cost(run: Run) -> dict[str, float | None]:
    """Return the seconds over all starts of the run, and the peak memory of this start."""
    speeds = [line["cost"]["images_per_second"] for line in run.folder.metrics.read()]
    numbers = [speed for speed in speeds if speed is not None]
    return {
        **{f"{activity}_seconds": seconds for activity, seconds in run.clock.seconds.items()},
        "images_per_second": statistics.median(numbers) if numbers else None,
        "peak_memory_bytes": peak_memory(run.compute.device),
    }
