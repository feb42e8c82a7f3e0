"""A search that ended before its trials: its results, and which trials go on."""

from pathlib import Path
from typing import Any

import pytest
from made_search import SPACE, drawn_event, ended_event, small

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.driver import SearchDriver
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.recipes.catalog import find
from cifarlab.system.errors import DataError, RunFolderError

SCORES = [0.5, 0.6, 0.4]


@pytest.fixture
def n_pending_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trials the engine could have had, each time; it trains nothing."""
    calls: list[int] = []

    def run(driver: SearchDriver, *_: Any) -> None:
        calls.append(driver.n_pending)

    monkeypatch.setattr("cifarlab.experiments.search.engine.run_experiment", run)
    return calls


def begin_search(search: Search, runs: Path) -> SearchFolder:
    """Three trials with an epoch each, of which the first has ended."""
    folder = SearchFolder(runs / "searches" / search.name)
    folder.path.mkdir(parents=True)
    for number, score in enumerate(SCORES):
        params = {"optimizer.kind": "adam", "optimizer.lr": 0.01 * (1 + number)}
        folder.append_event(drawn_event(number, params))
        run = folder.trial(number)
        run.write_recipe(search.trial_recipe(params, search.base_recipe()))
        run.write_provenance({"data": {"name": "digits"}})
        train = {"accuracy": score}
        run.metrics.append({"epoch": 1, "train": train, "val": {"accuracy": score}})
    folder.append_event(ended_event(0, "planned", 1, SCORES[0]))
    return folder


def test_the_page_and_best_yaml_name_the_same_trial(
    n_pending_calls: list[int], tmp_path: Path
) -> None:
    folder = begin_search(small(trials=3), tmp_path)
    finished = run_search(small(trials=3), runs=tmp_path, resume=True)
    assert finished.results.best_row and finished.results.best_row.number == 1
    assert "Best: trial-001, 60.00 %, in best.yaml" in (folder.path / "page.md").read_text()
    assert find(str(folder.best_recipe)).optimizer.lr == 0.02
    assert any("2 trials are not finished" in problem for problem in finished.problems)


def test_finalists_wait_for_the_last_trial(n_pending_calls: list[int], tmp_path: Path) -> None:
    folder = begin_search(small(trials=3), tmp_path)
    finished = run_search(small(trials=3), runs=tmp_path, resume=True, n_seeds=2)
    assert finished.finalists is None and not (folder.path / "studies").exists()


def test_a_record_that_cant_be_read_is_named(n_pending_calls: list[int], tmp_path: Path) -> None:
    folder = begin_search(small(trials=3), tmp_path)
    folder.events_file.write_bytes(b"\xff" + folder.events_file.read_bytes())
    with pytest.raises(RunFolderError, match=r"can't read .*search\.jsonl"):
        run_search(small(trials=3), runs=tmp_path, resume=True)
    with pytest.raises(RunFolderError, match=r"can't read .*search\.jsonl"):
        folder.repair()


def test_trials_of_other_images_do_not_go_on(n_pending_calls: list[int], tmp_path: Path) -> None:
    """Each would fail for that reason, and stand in the record as failed."""
    folder = begin_search(small(trials=3), tmp_path)
    folder.trial(1).write_provenance({"data": {"name": "digits", "fingerprint": "others"}})
    record = folder.events_file.read_bytes()
    for trials in (3, 5):
        with pytest.raises(RunFolderError, match="the images are not those") as caught:
            run_search(small(trials=trials), runs=tmp_path, resume=True)
        assert "another name" in caught.value.hint
    assert n_pending_calls == [] and folder.events_file.read_bytes() == record


def test_images_that_are_gone_are_not_missed_where_all_trials_have_ended(
    n_pending_calls: list[int], tmp_path: Path
) -> None:
    search = small(trials=3, overrides={"data.source": "no/where"})
    folder = begin_search(search, tmp_path)
    with pytest.raises(DataError, match="no/where"):
        run_search(search, runs=tmp_path, resume=True)
    for number in (1, 2):
        folder.append_event(ended_event(number, "planned", 1, SCORES[number]))
    assert run_search(search, runs=tmp_path).results.best_row and n_pending_calls == []


@pytest.mark.parametrize(("trials", "expected"), [(1, 2), (3, 2), (5, 4)])
def test_all_begun_trials_go_on_even_with_fewer_trials(
    n_pending_calls: list[int], tmp_path: Path, trials: int, expected: int
) -> None:
    search = small(trials=trials, space=SPACE)
    begin_search(search, tmp_path)
    run_search(search, runs=tmp_path, resume=True)
    assert n_pending_calls == [expected]
