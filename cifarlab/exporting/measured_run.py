"""A finished run in the laboratory, and how an exported network compares with it."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cifarlab import __version__
from cifarlab.data.dataset import Log, Progress, Subset
from cifarlab.data.opening import OpenData, open_data
from cifarlab.evaluation.run_evaluation import open_split
from cifarlab.evaluation.shift import space_evenly
from cifarlab.exporting.formats import Network, Outputs
from cifarlab.exporting.graph import ExportedNetwork
from cifarlab.exporting.parity import compare_outputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.inference.tta import confidence
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import ExportError
from cifarlab.system.files import append_line, read_json_lines, sha256

MOST_TRAINING_IMAGES = 5000  # that are compared where a run held none out
_AT_ONCE = 125
_EDGE = 1e-5  # of a confidence from the threshold: rounding decides whether the image gets views


class Split(NamedTuple):
    """The images on which two networks are compared; ``name`` is val, train or test."""

    name: str
    subset: Subset

    @property
    def labels(self) -> np.ndarray:
        """Return the images' classes (N,)."""
        labels: np.ndarray = self.subset.labels[self.subset.indices]
        return labels


class MeasuredRun:
    """A finished run: its network, its images, and what an exported file says of it."""

    def __init__(
        self, folder: RunFolder, progress: Progress | None = None, log: Log | None = None
    ) -> None:
        """Load a run.

        Args:
            folder: of the run
            progress: called while data are read and networks compared
            log: called with a line that describes the data

        Raises:
            ExportError: the run has not finished
            CifarlabError: as ``load_run_predictor`` and ``open_data`` do
        """
        if not folder.require().is_finished:
            what = f"the run in {folder.path} has not finished: nothing of it was measured"
            raise ExportError(what, "finish it with 'cifarlab train ... --resume'")
        self.folder, self.recipe = folder, folder.recipe()
        self.predictor = load_run_predictor(folder)
        self.views = self.recipe.evaluation.tta_views
        self.temperature = folder.temperature()
        self.progress: Progress = progress or (lambda _what, _n, _total: None)
        self._log = log

    @cached_property
    def data(self) -> OpenData:
        """Return the images that the run was trained on."""
        data = open_data(self.recipe.data, self.progress, self._log)
        self.folder.require_same_data(data.dataset.fingerprint)
        return data

    def graph(self) -> ExportedNetwork:
        """Return the network as it is exported."""
        return ExportedNetwork(self.predictor, self.views, self.temperature)

    def calibration_images(self, count: int) -> np.ndarray:
        """Return so many training images uint8 (N, H, W, C), evenly spread."""
        training = self.data.training
        images: np.ndarray = training.images[space_evenly(training.indices, count)]
        return images

    def open_images(self, test: bool, command: str) -> Split:
        """Return the validation images, or training images where there are none.

        Args:
            test: return the test images instead, and record that they were opened
            command: recorded with that
        """
        if test:
            split = open_split(self.folder, "test", "export", command, self.progress)
            return Split("test", split.subset)
        if validation := self.data.validation:
            return Split("val", validation)
        training = self.data.training
        indices = space_evenly(training.indices, MOST_TRAINING_IMAGES)
        return Split("train", replace(training, indices=indices))

    def describe_images(self, split: Split) -> dict[str, Any]:
        """Return ``data``, ``split``, ``n`` and ``fingerprint`` of the images."""
        about = {"data": self.data.dataset.name, "split": split.name, "n": len(split.subset)}
        return about | {"fingerprint": split.subset.fingerprint()}

    def run(self, network: Network, subset: Subset) -> Outputs:
        """Return what an exported network says of the images."""
        batches = []
        for start in range(0, len(subset), _AT_ONCE):
            indices = subset.indices[start : start + _AT_ONCE]
            batches.append(network(np.ascontiguousarray(subset.images[indices])))
            self.progress("images compared", start + len(indices), len(subset))
        return Outputs(*map(np.concatenate, zip(*batches, strict=True)))

    def compare(self, exported: Outputs, subset: Subset, is_quantized: bool) -> dict[str, Any]:
        """Compare what an exported network says with what the run's says of the same images.

        Args:
            exported: what the exported one says
            subset: the images
            is_quantized: whether it may differ by more than rounding

        Returns:
            ``against_run``, with the network in the arithmetic in which the run was measured, and
            ``against_float32``, with the network in the graph's own arithmetic, in float32 on the
            CPU (None of a quantized one); see ``compare_outputs``.
        """
        labels, compute = subset.labels[subset.indices], self.predictor.compute
        temperature = self.temperature or 1.0
        cpu = replace(compute, device=torch.device("cpu"), precision="float32")
        in_float32 = replace(self.predictor, classifier=self.graph().classifier, compute=cpu)
        against_float32 = None
        if not is_quantized:
            reference = self._predict(in_float32, subset)
            sure = self._has_sure_views(in_float32, subset)
            pair = [Outputs(*(v[sure] for v in outputs)) for outputs in (exported, reference)]
            against_float32 = compare_outputs(pair[0], pair[1], labels[sure], temperature)
        if is_quantized or compute != cpu:
            reference = self._predict(self.predictor, subset)
        against_run = compare_outputs(exported, reference, labels, temperature)
        against_run = {"precision": compute.precision, **against_run}
        return {"against_float32": against_float32, "against_run": against_run}

    def result_scores(self, split: Split) -> dict[str, float] | None:
        """Return ``accuracy`` and ``log_loss`` of these images in result.json; None: not there."""
        scores = (self.folder.result() or {}).get(split.name)
        if not scores or scores.get("fingerprint") != split.subset.fingerprint():
            return None
        loss = dig(scores, "calibrated", "nll")
        loss = dig(scores, "loss") if loss is None else loss
        return {"accuracy": scores["accuracy"], "log_loss": loss}

    def opened_test(self) -> dict[str, Any] | None:
        """Return result.json's test accuracy with ``interval`` and ``n``; None: not opened."""
        scores = (self.folder.result() or {}).get("test")
        return scores and {key: scores[key] for key in ("n", "accuracy", "interval")}

    def refusals(self) -> list[dict[str, Any]]:
        """Return the attempts to export a quantized network that were refused, the oldest first."""
        return read_json_lines(self._refusals, "restore or delete the file", dict)

    def record_refusal(self, figures: dict[str, Any], margin: float, split: str) -> None:
        """Keep that a quantized network was refused, so that later certificates can say so.

        Args:
            figures: what ``compare_outputs`` returned
            margin: in points of accuracy
            split: the images' name
        """
        refusal = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "margin_points": margin,
            "at_least": figures["at_least"],
            "split": split,
        }
        append_line(self._refusals, json.dumps(refusal))

    @property
    def _refusals(self) -> Path:
        return self.folder.path / "refused_exports.jsonl"

    def _predict(self, predictor: Predictor, subset: Subset) -> Outputs:
        logits = predictor.logits(subset.images, self.views, subset.indices).numpy()
        probabilities = scaled_softmax(logits, self.temperature or 1.0)
        return Outputs(probabilities.astype(np.float32), logits)

    def _has_sure_views(self, predictor: Predictor, subset: Subset) -> np.ndarray:
        """Return of which images (N,) rounding can't decide whether they get further views."""
        threshold = self.graph().tta_threshold
        if threshold is None:
            return np.ones(len(subset), dtype=bool)
        first = confidence(predictor.logits(subset.images, 1, subset.indices)).numpy()
        return np.abs(first - threshold) > _EDGE

    def facts(self, quantize: str | None) -> dict[str, Any]:
        """Return what an exported file says of the run; ``quantize`` is int8 or None."""
        return {
            "cifarlab": __version__,
            "recipe": _without_folders(self.recipe),
            "fingerprint": fingerprint(self.recipe),
            "weights_sha256": sha256(self.folder.measured_weights()),
            "classes": list(self.predictor.classes),
            "image_shape": list(self.predictor.image_shape),
            "temperature": self.temperature,
            "tta_views": self.views,
            "tta_threshold": self.graph().tta_threshold,
            "quantize": quantize,
        }


def _without_folders(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as JSON, of plug-ins and of a teacher the names without their folders.

    Hashes say which these are; the folders are of this machine alone.
    """
    tree = recipe.model_dump(mode="json")
    for plugin in tree["plugins"]:
        plugin["file"] = Path(plugin["file"]).name
    if distillation := tree["training"]["distillation"]:
        distillation["teacher"] = Path(distillation["teacher"]).name
    return tree
