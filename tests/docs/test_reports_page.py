"""docs/reports.md is what benchmarks/reproduce.py writes from the results that are published."""

import sys
from pathlib import Path

import numpy as np
import pytest

from cifarlab.system.files import read_arrays

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted((ROOT / "docs" / "reports").rglob("result.json"))


@pytest.fixture(scope="module")
def reports():
    """The module that writes the page."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import _reports

        yield _reports
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def test_the_page_is_what_the_results_give(reports):
    text = (ROOT / "docs" / "reports.md").read_text(encoding="utf-8")
    assert text == reports.page(reports.read_rows())


def test_every_row_of_the_five_reports_has_a_baseline_and_a_line(reports):
    groups = reports.read_rows()
    names = [row.recipe for rows in groups.values() for row in rows]
    assert set(names) == set(reports.recipe_names())  # a baseline may stand in two groups
    assert all(rows[0].recipe == base for base, rows in groups.items())


def test_results_that_are_published_are_sound_and_hold_no_weights(reports):
    assert PUBLISHED
    for result in PUBLISHED:
        logits = read_arrays(result.with_name("test.safetensors"))[0]["logits"]
        assert logits.dtype == np.float16
        assert logits.shape[0] == 10_000
        sizes = [file.stat().st_size for file in result.parent.iterdir()]
        assert sum(sizes) < 3_000_000


def test_a_pause_is_not_counted_as_training(reports):
    (run,) = reports.read_runs([PUBLISHED[0].parent], predictions=False)
    before = reports.hours(run)
    longest = max(run.lines, key=lambda line: line["cost"]["train_seconds"])
    longest["cost"]["train_seconds"] += 3600
    assert reports.hours(run) <= before
