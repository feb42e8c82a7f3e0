"""Logits of each image of a split, and its worst mistakes: ``predictions/<split>.safetensors``."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cifarlab.system.files import damage_errors, read_arrays, write_arrays

_TENSORS = ("logits", "labels", "indices", "mistakes", "mistake_images")
_METADATA = ("classes", "fingerprint", "mistake_names")


@dataclass(frozen=True)
class Predictions:
    """Logits of one split, and its worst mistakes as images.

    ``logits`` float32 (N, K); ``labels`` int64 (N,); ``indices`` int64 (N,): each image's index
    in its source split. ``mistakes`` int64 (M,): rows of ``logits`` whose prediction is wrong,
    highest loss first; ``mistake_images`` uint8 (M, H, W, C), ``mistake_names`` what the data
    call them. ``fingerprint`` is a sha256 over the images and labels: results with equal ones were
    measured on the same images.
    """

    classes: tuple[str, ...]
    logits: np.ndarray
    labels: np.ndarray
    indices: np.ndarray
    mistakes: np.ndarray
    mistake_images: np.ndarray
    fingerprint: str = ""
    mistake_names: tuple[str, ...] = ()

    def mistake_name(self, number: int) -> str:
        """Return the name of one of the mistakes; where it has none, its index in the split."""
        if number < len(self.mistake_names):
            return self.mistake_names[number]
        return f"index {self.indices[self.mistakes[number]]}"

    def write(self, path: Path) -> None:
        """Write all arrays to one file.

        Raises:
            StorageError: the disk refused
        """
        metadata = {name: getattr(self, name) for name in _METADATA}
        write_arrays(path, {name: getattr(self, name) for name in _TENSORS}, metadata)

    @classmethod
    def read(cls, path: Path) -> "Predictions":
        """Read what ``write`` wrote.

        Raises:
            RunFolderError: the file is missing or damaged
        """
        with damage_errors(f"can't read predictions {path}", "restore the file, or train again"):
            arrays, metadata = read_arrays(path)
            fingerprint = str(metadata["fingerprint"])
            arrays = {name: arrays[name] for name in _TENSORS}
            classes = tuple(map(str, metadata["classes"]))
            names = tuple(map(str, metadata.get("mistake_names", ())))
            predictions = cls(classes, **arrays, fingerprint=fingerprint, mistake_names=names)
            predictions._require_sound()
        return predictions

    def _require_sound(self) -> None:
        """Raise ValueError where the arrays do not belong together."""
        n, k = len(self.labels), len(self.classes)
        index_arrays = (self.labels, k), (self.indices, 2**62), (self.mistakes, n)
        sound = (
            self.logits.shape == (n, k)
            and self.logits.dtype == np.float32
            and all(a.ndim == 1 and a.dtype == np.int64 for a, _ in index_arrays)
            and all(((a >= 0) & (a < limit)).all() for a, limit in index_arrays)
            and len(self.indices) == n
            and self.mistake_images.dtype == np.uint8
            and self.mistake_images.ndim == 4
            and self.mistake_images.shape[3] in (1, 3)
        )
        if not sound:
            raise ValueError("its arrays do not belong together")
