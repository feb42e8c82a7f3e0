"""The weights file: a trained network, with all that is needed to predict as it was measured.

It is a safetensors file of the classifier, its normalisation included. The metadata have the model
part of the recipe, the kind of normalisation, class names, image shape, the arithmetic, and below
which confidence an image gets further views.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from cifarlab.config.base import Config, Width
from cifarlab.config.family import Family, allow_plugins
from cifarlab.data.config import Normalization
from cifarlab.models.classifier import Classifier
from cifarlab.models.configs import Model
from cifarlab.system.errors import CheckpointError
from cifarlab.system.files import parse_json, reason, refuse_special_file, write_bytes


@dataclass(frozen=True)
class WeightsFile:
    """Metadata of a weights file, beside its tensors; ``image_shape`` is (H, W, C).

    ``tta_threshold`` as in ``Predictor``; where the recipe has ``tta_fraction``, it is determined
    at the run's end. ``other_models`` are those of an ensemble's members but the first.
    """

    model: Model
    classes: tuple[str, ...]
    image_shape: tuple[Width, Width, Width]
    precision: Literal["float32", "bfloat16"]
    normalization: Normalization
    epoch: int
    step: int
    tta_threshold: float | None = None
    other_models: tuple[Model, ...] = ()

    def write(self, path: Path, classifier: Classifier) -> str:
        """Write the file atomically; return its sha256 (hex).

        Raises:
            StorageError: the disk refused
        """
        content = self.content(classifier.state_dict())
        write_bytes(path, content)
        return hashlib.sha256(content).hexdigest()

    def content(self, tensors: dict[str, Tensor]) -> bytes:
        """Return the bytes of a file of these tensors."""
        owners = (owner for m in (self.model, *self.other_models) for owner in _owners(m))
        plugins = {"plugins": sorted({*owners})}
        metadata = plugins | _METADATA.dump_python(self, mode="json")
        # contiguous: safetensors stores plain memory, not channels_last strides
        contiguous = {name: t.contiguous() for name, t in tensors.items()}
        return save(contiguous, {"cifarlab": json.dumps(metadata)})

    @classmethod
    def read(cls, path: Path) -> tuple["WeightsFile", dict[str, Tensor]]:
        """Return metadata and tensors.

        Raises:
            CheckpointError: the file is missing or damaged, or its network is not known
        """
        try:
            with safe_open(refuse_special_file(path), "pt") as file:
                metadata = parse_json(file.metadata()["cifarlab"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            with allow_plugins(metadata["plugins"]):
                return _METADATA.validate_python(metadata), tensors
        except FileNotFoundError as error:
            hint = "the run has not finished its first epoch"
            raise CheckpointError(f"there is no checkpoint {path}", hint) from error
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            what = f"{path} is damaged or no checkpoint of cifarlab: {reason(error)}"
            hint = "restore the file, or train again"
            first = error.errors()[0] if isinstance(error, ValidationError) else None
            if first and first["type"] == "unknown_kind":
                kind = first["ctx"]["kind"]
                what = f"{path} holds a network with kind {kind!r}, which is not known here"
                hint = "load the plug-in that defines it: --plugin FILE"
            raise CheckpointError(what, hint) from error


_METADATA = TypeAdapter(WeightsFile)


def _owners(config: Config) -> Iterator[str]:
    """Yield the hashes of the plug-ins that define a part of the recipe and the parts in it."""
    if isinstance(config, Family) and config.owner:
        yield config.owner
    for name in type(config).model_fields:
        if isinstance(value := getattr(config, name), Config):
            yield from _owners(value)


def load_weights(classifier: Classifier, tensors: dict[str, Tensor], path: Path) -> None:
    """Put tensors into a classifier.

    Args:
        classifier: the network
        tensors: its parameters and buffers by name
        path: the file that they are from

    Raises:
        CheckpointError: names or shapes differ
    """
    try:
        classifier.load_state_dict(tensors)
    except RuntimeError as error:
        what = f"{path} is a checkpoint of another model: {str(error).splitlines()[1].strip()}"
        raise CheckpointError(what, "use it with the recipe that made it") from error
