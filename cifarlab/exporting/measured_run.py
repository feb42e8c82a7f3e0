"""A finished run in the laboratory, and how an exported network compares with it."""

from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from cifarlab import __version__
from cifarlab.data.dataset import Log, Progress, Subset
from cifarlab.data.opening import OpenData, open_data
from cifarlab.evaluation.run_evaluation import open_split
from cifarlab.evaluation.shift import space_evenly
from cifarlab.exporting.formats import Network, Outputs
from cifarlab.exporting.graph import ExportedNetwork
from cifarlab.exporting.parity import compare_outputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import load_run_predictor, read_validation
from cifarlab.inference.tta import confidence
from cifarlab.metrics.calibration import scaled_softmax
from cifarlab.metrics.conformal import calibrate_percents
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import ExportError
from cifarlab.system.files import sha256

MOST_TRAINING_IMAGES = 5000  # that are compared where a run held none out
_AT_ONCE = 125
_EDGE = 1e-5  # of a confidence from the threshold: rounding decides whether the image gets views


class Split(NamedTuple):
    """The images on which two networks are compared; ``name`` is val, train or test."""

    name: str
    subset: Subset


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

    def run(self, network: Network, subset: Subset) -> Outputs:
        """Return what an exported network says of the images."""
        batches = []
        for start in range(0, len(subset), _AT_ONCE):
            indices = subset.indices[start : start + _AT_ONCE]
            batches.append(network(np.ascontiguousarray(subset.images[indices])))
            self.progress("images compared", start + len(indices), len(subset))
        return Outputs(*map(np.concatenate, zip(*batches, strict=True)))

    def compare(self, ours: Outputs, subset: Subset, is_quantized: bool) -> dict[str, Any]:
        """Compare what an exported network says with what the run's says of the same images.

        Args:
            ours: of the exported one
            subset: the images
            is_quantized: whether it may differ by more than rounding

        Returns:
            ``against_run``, with the network in the arithmetic in which the run was measured, and
            ``against_float32``, with the network in the graph's own arithmetic (None of a quantized
            one); see ``compare_outputs``.
        """
        labels, compute = subset.labels[subset.indices], self.predictor.compute
        in_float32 = replace(self.predictor, compute=replace(compute, precision="float32"))
        against_float32 = None
        if not is_quantized:
            base = self._predict(in_float32, subset)
            decided = self._decided(in_float32, subset)
            pair = [Outputs(*(values[decided] for values in outputs)) for outputs in (ours, base)]
            against_float32 = compare_outputs(pair[0], pair[1], labels[decided])
        if is_quantized or compute.precision != "float32":
            base = self._predict(self.predictor, subset)
        against_run = {"precision": compute.precision, **compare_outputs(ours, base, labels)}
        return {"against_float32": against_float32, "against_run": against_run}

    def _predict(self, predictor: Predictor, subset: Subset) -> Outputs:
        logits = predictor.logits(subset.images, self.views, subset.indices).numpy()
        probabilities = scaled_softmax(logits, self.temperature or 1.0)
        return Outputs(probabilities.astype(np.float32), logits)

    def _decided(self, predictor: Predictor, subset: Subset) -> np.ndarray:
        """Return of which images (N,) rounding can't decide whether they get further views."""
        threshold = self.graph().tta_threshold
        if threshold is None:
            return np.ones(len(subset), dtype=bool)
        first = confidence(predictor.logits(subset.images, 1, subset.indices)).numpy()
        return np.abs(first - threshold) > _EDGE

    def facts(self, quantize: str | None) -> dict[str, Any]:
        """Return what an exported file says of the run; ``quantize`` is int8 or None.

        ``conformal`` is what ``predict --coverage`` calibrates its sets by; None of a run without
        validation images. A quantized network is calibrated by what it says itself.
        """
        return {
            "cifarlab": __version__,
            "recipe": self.recipe.model_dump(mode="json"),
            "fingerprint": fingerprint(self.recipe),
            "weights_sha256": sha256(self.folder.measured_weights()),
            "classes": list(self.predictor.classes),
            "image_shape": list(self.predictor.image_shape),
            "temperature": self.temperature,
            "tta_views": self.views,
            "tta_threshold": self.graph().tta_threshold,
            "quantize": quantize,
            **({} if quantize else {"conformal": self._conformal()}),
        }

    def _conformal(self) -> dict[str, Any] | None:
        if not (self.folder.result() or {}).get("val"):
            return None
        return calibrate_percents(*read_validation(self.folder))
