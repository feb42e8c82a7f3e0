import os
from pathlib import Path

import pytest

# Read before the fixture below hides it: one test uses the real archive where there is one.
REAL_DATA = os.environ.get("CIFARLAB_DATA", "")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """A cache of its own for each test, and no data folder or mirror from outside."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CIFARLAB_CACHE", str(folder))
    for name in ("CIFARLAB_DATA", "CIFARLAB_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture
def real_archive() -> Path | None:
    path = Path(REAL_DATA) / "cifar10-jpeg.tar.xz"
    return path if REAL_DATA and path.is_file() else None
