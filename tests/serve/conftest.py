"""A network that was exported, and a server of it in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cifarlab.exporting.export_run import export_run
from cifarlab.run_folder.folder import RunFolder
from cifarlab_serve.app import build_app
from cifarlab_serve.exported import ExportedNetwork
from cifarlab_serve.settings import Limits


@pytest.fixture(scope="session")
def exported(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the finished run."""
    return export_run(finished.path, out=tmp_path_factory.mktemp("served")).path


@pytest.fixture
def network(exported: Path) -> ExportedNetwork:
    return ExportedNetwork(exported, "crop", 1)


@pytest.fixture
def client(network: ExportedNetwork) -> Iterator[TestClient]:
    with TestClient(build_app(network, Limits()), base_url="http://127.0.0.1") as client:
        yield client
