"""The one way from raw uint8 images to logits, and the weights file that carries it.

A weights file (safetensors) holds the classifier with its normalisation and, in its metadata, all
that is needed to predict as it was measured: the model part of the recipe, class names, image
shape and the arithmetic.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cifarlab.compute import Compute, choose
from cifarlab.errors import CheckpointError, DataError
from cifarlab.evaluate.views import averaged
from cifarlab.models import Classifier, build_body
from cifarlab.recipe.schema import Model
from cifarlab.storage import write_bytes

# Images at a time, by device: what stays in a processor's cache, what fills a GPU. Fixed, so that
# the same images in the same order give the same bits.
BATCH = {"cpu": 125, "cuda": 2000}
_MODEL: TypeAdapter[Model] = TypeAdapter(Model)


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file says beside its tensors; ``image_shape`` is (H, W, C)."""

    model: Model
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    precision: str
    epoch: int
    step: int

    def write(self, path: Path, classifier: Classifier) -> None:
        """Write weights and metadata to one file, whole. Raises StorageError."""
        about = {
            "model": self.model.model_dump(mode="json"),
            "classes": self.classes,
            "image_shape": self.image_shape,
            "precision": self.precision,
            "epoch": self.epoch,
            "step": self.step,
        }
        # contiguous: safetensors stores plain memory, not channels_last strides
        tensors = {name: t.contiguous() for name, t in classifier.state_dict().items()}
        write_bytes(path, save(tensors, {"cifarlab": json.dumps(about)}))

    @classmethod
    def read(cls, path: Path) -> tuple["WeightsFile", dict[str, Tensor]]:
        """Metadata and tensors. Raises CheckpointError."""
        try:
            with safe_open(path, "pt") as file:
                about = json.loads(file.metadata()["cifarlab"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about["model"] = _MODEL.validate_python(about["model"])
            about["classes"] = tuple(about["classes"])
            about["image_shape"] = tuple(about["image_shape"])
            return cls(**about), tensors
        except FileNotFoundError as error:
            raise CheckpointError(
                f"there is no checkpoint {path}", "the run has not finished its first epoch"
            ) from error
        except (
            OSError,
            SafetensorError,
            ValidationError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise CheckpointError(
                f"{path} is damaged or no checkpoint of cifarlab: {error!s:.120}",
                "restore the file, or train again",
            ) from error


def load_weights(classifier: Classifier, tensors: dict[str, Tensor], path: Path) -> None:
    """Put tensors into a classifier. Raises CheckpointError where names or shapes differ."""
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        first = str(error).splitlines()[1].strip()
        raise CheckpointError(
            f"{path} is a checkpoint of another model: {first}",
            "use it with the recipe that made it",
        ) from error


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
        with torch.device("meta"):
            body = build_body(about.model, about.image_shape, len(about.classes))
        channels = about.image_shape[2]
        classifier = Classifier(body.to_empty(device="cpu"), [0.0] * channels, [1.0] * channels)
        load_weights(classifier, tensors, path)
        return cls(classifier.to(compute.device), about.classes, about.image_shape, compute)

    def logits(
        self, images: np.ndarray | Tensor, views: int = 1, indices: np.ndarray | None = None
    ) -> Tensor:
        """Logits float32 (N, K), on the CPU, of uint8 images (N, H, W, C).

        ``indices`` picks images without copying the rest; ``views`` averages over 1, 2 or 6 views
        (evaluate/views.py). Raises DataError for images of another kind.
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
        size = BATCH[self.compute.device.type]
        outputs = []
        with torch.inference_mode(), self.compute.autocast():
            for first in range(0, len(places), size):
                batch = torch.as_tensor(images[places[first : first + size]])
                batch = batch.to(self.compute.device)
                outputs.append(averaged(self.classifier, batch, views))
        self.classifier.train(training)
        return torch.cat(outputs).cpu() if outputs else torch.empty(0, len(self.classes))
