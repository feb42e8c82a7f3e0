"""Damaged files of studies and searches: errors of ours, and a list of all that is there."""

from pathlib import Path
from typing import Any

import pytest
from damage import DAMAGE, damage_in_turn, invalid_values
from made_site import make_search, make_study

from cifarlab.dashboard.index import Index
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.record import describe_end
from cifarlab.experiments.search.table import (
    describe_selection_bias,
    format_importance,
    format_rungs,
    restore_results,
)
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.study.table import (
    csv_text,
    footing,
    format_rows,
    heading,
    markdown,
    restore_comparison,
)
from cifarlab.run_folder.schemas import as_json
from cifarlab.system.errors import CifarlabError


def read_study(path: Path) -> None:
    """All that the page and a comparison take from a study's folder."""
    content = StudyFolder(path).content()
    comparison = restore_comparison(content.get("comparison"))
    for show in (heading, format_rows, footing, markdown, csv_text, as_json):
        show(comparison)


def read_search(path: Path) -> None:
    """All that the page and a resumed search take from a search's folder."""
    folder = SearchFolder(path)
    for trial in folder.history().ranking(folder.metric):
        describe_end(trial, folder.metric)
    folder.events.repair()
    results = restore_results(folder.content().get("results") or {})
    format_rungs(results.rungs, folder.metric)
    format_importance(results.importance)
    for bias in results.finalists.selection_bias if results.finalists else ():
        describe_selection_bias(bias, folder.metric)


def error_of(use: Any, path: Path) -> CifarlabError | None:
    """Return the error of ours that a reader raises; any other error fails the test."""
    try:
        use(path)
    except CifarlabError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("make", "read", "file"),
    [
        (make_study, read_study, "study.json"),
        (make_search, read_search, "search.json"),
        (make_search, read_search, "search.jsonl"),
    ],
)
def test_a_damaged_study_or_search(tmp_path: Path, make: Any, read: Any, file: str) -> None:
    make_study(tmp_path / "studies" / "made")  # the search borrows its figure
    path = tmp_path / "searches" / "made" if make is make_search else tmp_path / "studies" / "made"
    if make is make_search:
        make(path)
    undamaged = Index(tmp_path).listing()
    refusals = []
    for _ in damage_in_turn(path / file, [*DAMAGE.values(), *invalid_values(path / file)]):
        for use in (read, lambda path: compare_runs([str(path)])):
            error = error_of(use, path)
            assert error is None or (error.what and error.hint)
            refusals.append(error)
        assert Index(tmp_path).listing() == undamaged  # the list needs none of these files' content
    assert any(refusals) and error_of(read, path) is None
