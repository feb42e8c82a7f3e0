"""How long a person waits for the list of 1,000 runs: from the click to the table.

Run it from the repository root, with Chromium installed:

    python benchmarks/dashboard.py

Bar: the table of 1,000 runs in under a second. Each repeat has a server and a browser context of
its own; ``first visit`` is the first to that server, scripts included, ``second visit`` the next.
``index`` is the reading of all folders in this process, ``unchanged index`` reads them once more.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from _made_runs import make_runs
from _results import summary, write_result
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from cifarlab.dashboard.index import Index

RUNS, REPEATS = 1000, 5
ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests" / "dashboard"))
from chromium import find_chromium  # noqa: E402


def main() -> None:
    """Measure all items, print their medians and write the result."""
    items: dict[str, list[float]] = {
        item: [] for item in ("index", "unchanged index", "first visit", "second visit")
    }
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        runs = make_runs(Path(folder) / "runs", RUNS)
        program = find_chromium()
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for _ in range(REPEATS):
            index = Index(runs)
            times = (seconds(index.listing), seconds(index.listing), *visit_twice(browser, runs))
            for values, time_ in zip(items.values(), times, strict=True):
                values.append(time_)
        browser.close()
    for item, values in items.items():
        print(f"{item:15} median {statistics.median(values):6.3f} s of {len(values)}")
    summaries = {item: summary(values) for item, values in items.items()}
    path = write_result("dashboard", "cpu", {"runs": RUNS, "seconds": summaries})
    print(f"written to {path}")


def visit_twice(browser: Browser, runs: Path) -> tuple[float, float]:
    """Return the seconds of two visits to a new server, until the table has its rows."""
    command = [sys.executable, "-m", "cifarlab", "dashboard", str(runs), "--no-open", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    try:
        assert server.stdout
        url = re.search(r"http://\S+", server.stdout.readline())
        assert url
        return visit(context, url[0]), visit(context, url[0])
    finally:
        context.close()
        server.terminate()
        server.wait()


def visit(context: BrowserContext, url: str) -> float:
    """Return the seconds until the table shows rows and the page their number."""
    page = context.new_page()
    start = time.perf_counter()
    page.goto(url)
    expect(page.locator(".list tbody a").nth(10)).to_be_visible()
    expect(page.get_by_text(f"{RUNS:,} runs", exact=True)).to_be_visible()
    elapsed = time.perf_counter() - start
    page.close()
    return elapsed


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
