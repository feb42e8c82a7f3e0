"""A trial in its worker, without Ray: it waits after each epoch, ends where told, and goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_search import TINY, small

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.messages import EPOCH, FAILURE, FATAL, SCORE, STOP_REASON
from cifarlab.experiments.search.trial_history import RungDecision, drawn_event, rung_event
from cifarlab.experiments.search.trial_session import TrialJob, TrialSession, parse_job
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.training.train import train

PARAMS = {"optimizer.kind": "sgd", "optimizer.lr": 0.1, "optimizer.momentum": 0.9}


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return started_search(tmp_path, small(overrides=TINY, max_epochs="4 epochs"))


def started_search(path: Path, search: Search) -> SearchFolder:
    """A search with one drawn trial."""
    folder = SearchFolder(path / "search")
    folder.path.mkdir()
    folder.write(
        {
            "search": search.model_dump(mode="json"),
            "base": search.base_recipe().model_dump(mode="json"),
            "scale": 1.0,
            "command": "cifarlab search made",
        }
    )
    folder.append_event(drawn_event(0, PARAMS))
    return folder


def session(folder: SearchFolder, params: dict[str, Any] | None = None) -> TrialSession:
    return TrialSession(
        parse_job(json.dumps(TrialJob(0, params or PARAMS, str(folder.path), 1, ".", [])))
    )


def stop_at_rung(folder: SearchFolder, epoch: int) -> None:
    folder.append_event(rung_event(0, RungDecision(epoch, epoch, 0.1, 0.2, 2, 2, True)))


def trained_alone(folder: SearchFolder, path: Path) -> RunFolder:
    """The same recipe trained without a search."""
    recipe, *_ = folder.load_trial(0, PARAMS)
    train(recipe, RunFolder(path))
    return RunFolder(path)


def test_a_whole_trial_is_the_run_that_its_recipe_gives_alone(
    folder: SearchFolder, tmp_path: Path
) -> None:
    trial = session(folder)
    messages = [trial.next() for _ in range(5)]
    assert [message[EPOCH] for message in messages] == [1, 2, 3, 4, 4]
    assert messages[4][STOP_REASON] == "planned" and all(
        STOP_REASON not in message for message in messages[:4]
    )
    metrics = folder.trial(0).metrics.read()
    accuracies = [line["val"]["accuracy"] for line in metrics]
    assert [m[SCORE] for m in messages[:4]] == [max(accuracies[: n + 1]) for n in range(4)]
    assert without_cost(metrics) == without_cost(
        trained_alone(folder, tmp_path / "alone").metrics.read()
    )


def test_the_test_split_stays_closed(folder: SearchFolder) -> None:
    trial = session(folder)
    while STOP_REASON not in trial.next():
        pass
    run = folder.trial(0)
    assert run.provenance()["test_openings"] == []
    assert "test" not in (run.result() or {}) and not run.recipe().evaluation.test
    assert run.recipe().name == "made/trial-000"


def test_a_stopped_trial_ends_cleanly_at_its_rung(folder: SearchFolder, tmp_path: Path) -> None:
    trial = session(folder)
    trial.next()
    trial.next()
    stop_at_rung(folder, 2)
    trial.end()
    result = folder.trial(0).result()
    assert result and result["stop_reason"] == "stopped" and result["epochs"] == 2
    whole = trained_alone(folder, tmp_path / "alone").metrics.read()
    assert without_cost(folder.trial(0).metrics.read()) == without_cost(whole[:2])


def test_a_trial_that_is_left_goes_on_in_another_worker(
    folder: SearchFolder, tmp_path: Path
) -> None:
    first = session(folder)
    first.next()
    first.next()
    first.end()
    assert folder.trial(0).exists and not folder.trial(0).finished
    second = session(folder)
    messages = [second.next() for _ in range(5)]
    assert [m[EPOCH] for m in messages] == [1, 2, 3, 4, 4] and messages[4][STOP_REASON] == "planned"
    assert len(folder.trial(0).provenance()["starts"]) == 2
    metrics = trained_alone(folder, tmp_path / "alone").metrics.read()
    assert without_cost(folder.trial(0).metrics.read()) == without_cost(metrics)


def test_stopped_while_the_driver_died_it_only_finishes(folder: SearchFolder) -> None:
    first = session(folder)
    first.next()
    first.end()
    stop_at_rung(folder, 1)
    second = session(folder)
    assert second.next()[EPOCH] == 1
    second.end()
    result = folder.trial(0).result()
    assert result and result["stop_reason"] == "stopped" and result["epochs"] == 1


def test_a_run_that_finished_unheard_is_told_again(folder: SearchFolder) -> None:
    first = session(folder)
    while STOP_REASON not in first.next():
        pass
    before = folder.trial(0).result()
    second = session(folder)
    messages = [second.next() for _ in range(5)]
    assert messages[-1][STOP_REASON] == "planned" and [m[EPOCH] for m in messages] == [
        1,
        2,
        3,
        4,
        4,
    ]
    assert folder.trial(0).result() == before


def test_a_diverged_trial_fails_with_its_reason(folder: SearchFolder) -> None:
    messages = session(folder, {**PARAMS, "optimizer.lr": 1e30}).next()
    assert messages[STOP_REASON] == "failed" and messages[EPOCH] == 0
    assert json.loads(messages[FAILURE])["kind"] == "DivergenceError"


@pytest.mark.parametrize(
    ("error", "kind"),
    [(MemoryError(), "OutOfMemoryError"), (AssertionError("a fault"), "AssertionError")],
)
def test_other_failures_are_the_trials_own(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("cifarlab.training.train.fit", failing)
    messages = session(folder).next()
    assert messages[STOP_REASON] == "failed" and json.loads(messages[FAILURE])["kind"] == kind


def test_a_full_disk_is_no_failure_of_the_trial(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    messages = session(folder).next()
    assert STOP_REASON not in messages and "No space left" in messages[FATAL]


def test_a_run_that_another_process_does_not_let_go_of_fails_in_words(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifarlab.experiments.search.trial_session._HANDOVER", 0.1)
    with folder.trial(0).in_use():
        messages = session(folder).next()
    failure = json.loads(messages[FAILURE])
    assert failure["kind"] == "RunFolderError" and "held by another" in failure["what"]
