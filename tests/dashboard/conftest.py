"""The machine's own Chromium, for all tests that look at a page."""

from collections.abc import Iterator

import pytest
from chromium import open_browser
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser
