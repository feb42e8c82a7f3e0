"""A run that was exported, and a copy of it that may be spoiled."""

import shutil
from pathlib import Path

import pytest

from cifarlab.exporting.export_run import ExportedFile, export_run
from cifarlab.run_folder.folder import RunFolder


@pytest.fixture(scope="session")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> ExportedFile:
    """The finished run as ONNX. Read it, never write to it."""
    return export_run(finished.path, out=tmp_path_factory.mktemp("onnx"), command="me")


@pytest.fixture
def spoilable(exported: ExportedFile, tmp_path: Path) -> ExportedFile:
    """A copy of the exported file and its certificate, for a test to spoil."""
    folder = tmp_path / "exported"
    shutil.copytree(exported.path.parent, folder)
    return ExportedFile(folder / exported.path.name, exported.certificate)
