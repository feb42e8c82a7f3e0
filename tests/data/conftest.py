from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    """A cache of its own for each test, and no data folder or mirror from outside."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CIFARLAB_CACHE", str(folder))
    for name in ("CIFARLAB_DATA", "CIFARLAB_MIRRORS"):
        monkeypatch.delenv(name, raising=False)
    return folder
