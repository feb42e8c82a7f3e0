"""Where this machine's Chromium is: for the tests that drive it, and for ``make test`` before."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = """the tests of the dashboard drive Chromium, which is missing
install it: apt-get install chromium, or your system's way"""


def find_chromium() -> str:
    """Return the program's path, or end with what to do."""
    return next((path for name in NAMES if (path := shutil.which(name))), None) or sys.exit(MISSING)


@contextmanager
def open_browser() -> Iterator[Any]:
    """Open Chromium for the tests of one module."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        yield opened
        opened.close()


if __name__ == "__main__":
    find_chromium()
