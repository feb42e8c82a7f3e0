"""What an audit found in the data: ``findings.json``, and the images that it speaks of."""

from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.system import files

IMAGES = ("suspects", "pairs")


class Audit:
    """A folder with an audit's findings; reads nothing until asked.

    ``suspects`` are uint8 (M, H, W, C), images of the first label suspects; ``pairs`` uint8
    (P, 2, H, W, C), of the first pairs of near-duplicates.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings_file = path / "findings.json"
        self.images_file = path / "images.safetensors"
        self.provenance_file = path / "test_openings.json"
        self._mend = f"delete the folder {path} and audit again"

    def write(self, findings: dict[str, Any], images: dict[str, np.ndarray]) -> None:
        """Replace both files, the images first. Raises StorageError."""
        files.write_arrays(self.images_file, {name: images[name] for name in IMAGES})
        files.write_json(self.findings_file, findings)

    def findings(self) -> dict[str, Any] | None:
        """Return what was found, None where no audit ended. Raises RunFolderError."""
        return files.read_json(self.findings_file, self._mend)

    def provenance(self) -> dict[str, Any]:
        """Return ``test_openings`` as a run has them, of an audit without a run.

        Raises RunFolderError.
        """
        return files.read_json(self.provenance_file, self._mend) or {}

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        """Replace the file of the openings, whole. Raises StorageError."""
        files.write_json(self.provenance_file, provenance)

    def images(self) -> dict[str, np.ndarray]:
        """Return the images by kind, none where no audit ended. Raises RunFolderError."""
        if not self.images_file.exists():
            return {}
        with files.damage_errors(f"can't read {self.images_file}", self._mend):
            arrays, _ = files.read_arrays(self.images_file)
            for name, ndim in zip(IMAGES, (4, 5), strict=True):
                if arrays[name].dtype != np.uint8 or arrays[name].ndim != ndim:
                    raise ValueError(f"{name} are no images")
        return arrays
