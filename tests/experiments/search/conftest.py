"""One Ray for all tests that need it, two processors wide."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """Ray as a search starts it, kept for further searches of the session."""
    from cifarlab.experiments.search.cluster import connect_ray, require_extra

    require_extra()
    with connect_ray(2, None):
        yield
