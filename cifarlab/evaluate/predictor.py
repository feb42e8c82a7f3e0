"""The one way from raw uint8 images to logits."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cifarlab.compute import Compute, choose
from cifarlab.errors import CheckpointError, DataError, RecipeError
from cifarlab.evaluate.views import averaged, least_sure
from cifarlab.evaluate.weights import WeightsFile, load_weights
from cifarlab.models import Classifier, build_body
from cifarlab.storage import reason

# Images at a time, by device: what stays in a processor's cache, what fills a GPU. Fixed, so that
# the same images in the same order give the same bits.
BATCH = {"cpu": 125, "cuda": 2000}


class Predictor:
    """A trained classifier that predicts exactly as it was measured.

    ``classes`` are the K class names, ``image_shape`` is (H, W, C).
    """

    def __init__(
        self,
        classifier: Classifier,
        classes: Sequence[str],
        image_shape: tuple[int, int, int],
        compute: Compute,
    ) -> None:
        self.classifier = classifier
        self.classes = tuple(classes)
        self.image_shape = image_shape
        self.compute = compute

    @classmethod
    def load(cls, path: Path) -> "Predictor":
        """From a weights file, in the arithmetic that it was trained in. Raises CheckpointError."""
        about, tensors = WeightsFile.read(path)
        compute = choose(about.precision)
        try:
            with torch.device("meta"):
                body = build_body(about.model, about.image_shape, len(about.classes))
        except (RecipeError, RuntimeError, ValueError, TypeError) as error:
            what = f"{path} tells of a network that can't be built: {reason(error)}"
            raise CheckpointError(what, "restore the file, or train again") from error
        channels = about.image_shape[2]
        by_image = about.normalisation == "image"
        body = body.to_empty(device="cpu")
        classifier = Classifier(body, [0.0] * channels, [1.0] * channels, by_image)
        load_weights(classifier, tensors, path)
        return cls(classifier.to(compute.device), about.classes, about.image_shape, compute)

    def logits(
        self,
        images: np.ndarray | Tensor,
        views: int = 1,
        indices: np.ndarray | None = None,
        unsure: float = 1.0,
    ) -> Tensor:
        """Logits float32 (N, K), on the CPU, of uint8 images (N, H, W, C).

        ``indices`` picks images without copying the rest. ``views`` averages over 1, 2, 6 or 10
        views (evaluate/views.py), for all images or, below 1, for the share ``unsure`` of these N
        that the first view leaves least sure. Raises DataError for images of another kind.
        """
        if images.shape[1:] != self.image_shape or images.dtype not in (np.uint8, torch.uint8):
            shape = ", ".join(map(str, self.image_shape))
            raise DataError(
                f"images of shape {tuple(images.shape)} and type {images.dtype} can't be read",
                f"this network takes uint8 images of shape (N, {shape})",
            )
        places = np.arange(len(images)) if indices is None else indices
        training = self.classifier.training
        self.classifier.eval()
        with torch.inference_mode(), self.compute.autocast():
            if unsure >= 1:
                logits = self._passes(images, places, views)
            else:
                logits = self._passes(images, places, 1)
                rest = least_sure(logits, unsure)
                first = logits[rest]
                logits[rest] = self._passes(images, places[rest.cpu().numpy()], views, first)
        self.classifier.train(training)
        return logits.cpu()

    def _passes(
        self,
        images: np.ndarray | Tensor,
        places: np.ndarray,
        views: int,
        first: Tensor | None = None,
    ) -> Tensor:
        """Mean logits (n, K), on the device, of the images at ``places`` (n,), by the batch."""
        device = self.compute.device
        size = BATCH[device.type]
        outputs = [torch.empty(0, len(self.classes), device=device)]
        for start in range(0, len(places), size):
            part = slice(start, start + size)
            batch = torch.as_tensor(images[places[part]]).to(device)
            known = None if first is None else first[part]
            outputs.append(averaged(self.classifier, batch, views, known))
        return torch.cat(outputs)
