"""A search that ended before its trials did: what is said of them, and who goes on. Without Ray."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_search import SPACE, small

from cifarlab.experiments.search.cluster import TrialResources
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.trial_history import drawn_event, ended_event
from cifarlab.recipes.catalog import find
from cifarlab.system.errors import DataError, RunFolderError

SCORES = [0.5, 0.6, 0.4]


@pytest.fixture
def tune_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Tune was asked for, each time; it trains nothing."""
    calls: list[dict[str, Any]] = []

    @contextmanager
    def nowhere(*_: Any) -> Iterator[TrialResources]:
        yield TrialResources(1, 1, 0.0)

    monkeypatch.setattr("cifarlab.experiments.search.engine.connect_ray", nowhere)
    monkeypatch.setattr("ray.tune.run", lambda _worker, **words: calls.append(words))
    return calls


def started_search(search: Search, runs: Path) -> SearchFolder:
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
    tune_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = started_search(small(trials=3), tmp_path)
    finished = run_search(small(trials=3), runs=tmp_path, resume=True)
    assert finished.results.best_row and finished.results.best_row.trial.number == 1
    assert "Best: trial-001, 60.00 %, in best.yaml" in (folder.path / "page.md").read_text()
    assert find(str(folder.best_recipe)).optimizer.lr == 0.02
    assert any("2 trials are not finished" in problem for problem in finished.problems)


def test_finalists_wait_for_the_last_trial(
    tune_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = started_search(small(trials=3), tmp_path)
    finished = run_search(small(trials=3), runs=tmp_path, resume=True, n_seeds=2)
    assert finished.finalists is None and not (folder.path / "studies").exists()


def test_a_record_that_cant_be_read_is_named(
    tune_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = started_search(small(trials=3), tmp_path)
    folder.events_file.write_bytes(b"\xff" + folder.events_file.read_bytes())
    with pytest.raises(RunFolderError, match=r"can't read .*search\.jsonl"):
        run_search(small(trials=3), runs=tmp_path, resume=True)
    with pytest.raises(RunFolderError, match=r"can't read .*search\.jsonl"):
        folder.repair()


def test_trials_of_other_images_do_not_go_on(
    tune_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Each would fail for that reason, and stand in the record as failed."""
    folder = started_search(small(trials=3), tmp_path)
    folder.trial(1).write_provenance({"data": {"name": "digits", "fingerprint": "others"}})
    record = folder.events_file.read_bytes()
    for trials in (3, 5):
        with pytest.raises(RunFolderError, match="the images are not those") as caught:
            run_search(small(trials=trials), runs=tmp_path, resume=True)
        assert "another name" in caught.value.hint
    assert tune_calls == [] and folder.events_file.read_bytes() == record


def test_images_that_are_gone_are_not_missed_where_all_trials_have_ended(
    tune_calls: list[dict[str, Any]], tmp_path: Path
) -> None:
    search = small(trials=3, overrides={"data.source": "no/where"})
    folder = started_search(search, tmp_path)
    with pytest.raises(DataError, match="no/where"):
        run_search(search, runs=tmp_path, resume=True)
    for number in (1, 2):
        folder.append_event(ended_event(number, "planned", 1, SCORES[number]))
    assert run_search(search, runs=tmp_path).results.best_row and tune_calls == []


@pytest.mark.parametrize(("trials", "expected"), [(1, 2), (3, 2), (5, 4)])
def test_all_that_was_begun_goes_on_however_few_trials_are_asked_for(
    tune_calls: list[dict[str, Any]], tmp_path: Path, trials: int, expected: int
) -> None:
    search = small(trials=trials, space=SPACE)
    started_search(search, tmp_path)
    run_search(search, runs=tmp_path, resume=True)
    assert tune_calls[0]["num_samples"] == expected
