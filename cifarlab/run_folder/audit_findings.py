"""What an audit found in the data: ``findings.json``, and the images that these are about."""

from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.run_folder.schemas import FORMAT, make_folder_check
from cifarlab.system import files

IMAGES = ("suspects", "pairs")


class Audit:
    """A folder with an audit's findings; each method reads its file anew.

    ``suspects`` are uint8 (M, H, W, C), images of the first label suspects; ``pairs`` uint8
    (P, 2, H, W, C), of the first pairs of near-duplicates.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.findings_file = path / "findings.json"
        self.images_file = path / "images.safetensors"
        self.provenance_file = path / "test_openings.json"
        self._hint = f"delete the folder {path} and audit again"

    def write(self, findings: dict[str, Any], images: dict[str, np.ndarray]) -> None:
        """Replace both files, the images first.

        Raises:
            StorageError: the disk refused
        """
        files.write_arrays(self.images_file, {name: images[name] for name in IMAGES})
        files.write_json(self.findings_file, {"format": FORMAT, **findings})

    def findings(self) -> dict[str, Any] | None:
        """Return the findings, None where no audit has ended.

        Raises:
            RunFolderError: the file is damaged, or another version wrote it
        """
        return files.read_json(self.findings_file, self._hint, make_folder_check(self.path))

    def provenance(self) -> dict[str, Any]:
        """Return the ``test_openings`` of an audit without a run, in the form of a run's.

        Raises:
            RunFolderError: the file is damaged
        """
        return files.read_json(self.provenance_file, self._hint) or {}

    def write_provenance(self, provenance: dict[str, Any]) -> None:
        """Replace the file of the openings.

        Raises:
            StorageError: the disk refused
        """
        files.write_json(self.provenance_file, provenance)

    def images(self) -> dict[str, np.ndarray]:
        """Return the images by kind, none where no audit has ended.

        Raises:
            RunFolderError: the file is damaged
        """
        if not self.images_file.exists():
            return {}
        with files.damage_errors(f"can't read {self.images_file}", self._hint):
            arrays, _ = files.read_arrays(self.images_file)
            _require_images(arrays)
        return arrays


def _require_images(arrays: dict[str, np.ndarray]) -> None:
    for name, ndim in zip(IMAGES, (4, 5), strict=True):
        if arrays[name].dtype != np.uint8 or arrays[name].ndim != ndim:
            raise ValueError(f"{name} are no images")
