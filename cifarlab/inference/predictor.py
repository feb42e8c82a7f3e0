"""From raw uint8 images to logits: training, evaluation and prediction all use this."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cifarlab.inference.tta import average_logits, confidence
from cifarlab.inference.weights import WeightsFile, load_weights
from cifarlab.models.build import build_for_weights
from cifarlab.models.classifier import Classifier
from cifarlab.system.device import Compute, choose_compute
from cifarlab.system.errors import CheckpointError, DataError, RecipeError
from cifarlab.system.transfer import to_device

# Images per batch: what stays in a processor's cache, what fills a GPU. Fixed, so that the same
# images in the same order give the same bits.
CPU_BATCH, GPU_BATCH = 125, 2000


def batch_size(device: torch.device) -> int:
    """Return how many images are predicted at a time on that device."""
    return CPU_BATCH if device.type == "cpu" else GPU_BATCH


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained classifier that predicts exactly as it was measured, each image by itself.

    ``classes`` are the K class names, ``image_shape`` is (H, W, C). Further views are for images
    whose confidence in the first view is below ``tta_threshold``; None: for all. ``epoch`` and
    ``step`` are those of the weights.
    """

    classifier: Classifier
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    compute: Compute
    tta_threshold: float | None = None
    epoch: int = 0
    step: int = 0

    @classmethod
    def load(cls, path: Path) -> "Predictor":
        """Load a weights file, in the arithmetic that it was trained in.

        Raises:
            CheckpointError: the file is missing or damaged, or its network can't be built
        """
        about, tensors = WeightsFile.read(path)
        shape, compute = about.image_shape, choose_compute(about.precision)
        try:
            body = build_for_weights(about.model, shape, len(about.classes), about.other_models)
        except RecipeError as error:
            what = f"{path} describes a network that can't be built: {error.what}"
            raise CheckpointError(what, "restore the file, or train again") from error
        by_image = about.normalization == "image"
        classifier = Classifier(body, [0.0] * shape[2], [1.0] * shape[2], by_image)
        load_weights(classifier, tensors, path)
        rest = about.tta_threshold, about.epoch, about.step
        return cls(classifier.to(compute.device), about.classes, shape, compute, *rest)

    def logits(
        self, images: np.ndarray | Tensor, views: int = 1, indices: np.ndarray | None = None
    ) -> Tensor:
        """Return the logits float32 (N, K), on the CPU.

        Args:
            images: uint8 (N, H, W, C)
            views: 1, 2, 6 or 10 (see inference/tta.py), averaged for the images that get them
                (see ``tta_threshold``)
            indices: (n,), of the images to predict, so that the rest is not copied; None: all

        Raises:
            DataError: the images have another type, size or number of channels than the network's
        """
        if images.shape[1:] != self.image_shape or images.dtype not in (np.uint8, torch.uint8):
            what = f"images of shape {tuple(images.shape)} and type {images.dtype} can't be read"
            shape = ", ".join(map(str, self.image_shape))
            raise DataError(what, f"this network takes uint8 images of shape (N, {shape})")
        indices = np.arange(len(images)) if indices is None else indices
        device = self.compute.device
        size = batch_size(device)

        def predict(indices: np.ndarray, views: int, first: Tensor | None = None) -> Tensor:
            """Return mean logits (n, K) on the CPU; ``first`` are the first view's, if any."""
            logits = [torch.empty(0, len(self.classes), device=device)]
            for start in range(0, len(indices), size):
                part = slice(start, start + size)
                batch = to_device(torch.as_tensor(images[indices[part]]), device)
                first_logits = None if first is None else to_device(first[part], device)
                logits.append(average_logits(self.classifier, batch, views, first_logits))
            return torch.cat(logits).cpu()

        with torch.inference_mode(), self.evaluating():
            if views == 1 or self.tta_threshold is None:
                return predict(indices, views)
            logits = predict(indices, 1)
            rows = (confidence(logits) < self.tta_threshold).nonzero().flatten()
            logits[rows] = predict(indices[rows.numpy()], views, logits[rows])
            return logits

    @contextmanager
    def evaluating(self) -> Iterator[Classifier]:
        """Yield the classifier in evaluation mode: pixels 0..255 (N, H, W, C) to logits (N, K).

        Afterwards it is in its former mode again.
        """
        training = self.classifier.training
        self.classifier.eval()
        try:
            with self.compute.autocast():
                yield self.classifier
        finally:
            self.classifier.train(training)
