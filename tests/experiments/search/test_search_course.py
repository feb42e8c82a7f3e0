"""A trial in its worker, without Ray: it waits after each epoch, ends where told, and goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_search import TINY, small

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.messages import EPOCH, FAILURE, FATAL, SCORE, WHY
from cifarlab.experiments.search.trial_history import Verdict, drawn, judged
from cifarlab.experiments.search.trial_session import Course, Job, as_job
from cifarlab.runs.folder import RunFolder
from cifarlab.runs.metrics_log import without_cost
from cifarlab.training.train import train

VALUES = {"optimizer.kind": "sgd", "optimizer.rate": 0.1, "optimizer.momentum": 0.9}


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    return begun(tmp_path, small(changes=TINY, max="4 epochs"))


def begun(path: Path, search: Search) -> SearchFolder:
    """A search with one drawn trial."""
    folder = SearchFolder(path / "search")
    folder.path.mkdir()
    folder.write(
        {
            "search": search.model_dump(mode="json"),
            "base": search.base().model_dump(mode="json"),
            "scale": 1.0,
            "command": "cifarlab search made",
        }
    )
    folder.note(drawn(0, VALUES))
    return folder


def course(folder: SearchFolder, values: dict[str, Any] | None = None) -> Course:
    return Course(as_job(json.dumps(Job(0, values or VALUES, str(folder.path), 1, "."))))


def stop(folder: SearchFolder, epoch: int) -> None:
    folder.note(judged(0, Verdict(epoch, epoch, 0.1, 0.2, 2, 2, True)))


def alone(folder: SearchFolder, path: Path) -> RunFolder:
    """The same recipe trained without a search."""
    recipe, _ = folder.planned(0, VALUES)
    train(recipe, RunFolder(path))
    return RunFolder(path)


def test_a_whole_trial_is_the_run_that_its_recipe_gives_alone(
    folder: SearchFolder, tmp_path: Path
) -> None:
    trial = course(folder)
    told = [trial.next() for _ in range(5)]
    assert [message[EPOCH] for message in told] == [1, 2, 3, 4, 4]
    assert told[4][WHY] == "planned" and all(WHY not in message for message in told[:4])
    metrics = folder.trial(0).metrics.read()
    accuracies = [line["val"]["accuracy"] for line in metrics]
    assert [m[SCORE] for m in told[:4]] == [max(accuracies[: n + 1]) for n in range(4)]
    assert without_cost(metrics) == without_cost(alone(folder, tmp_path / "alone").metrics.read())


def test_the_test_split_stays_closed(folder: SearchFolder) -> None:
    trial = course(folder)
    while WHY not in trial.next():
        pass
    run = folder.trial(0)
    assert run.provenance()["test_openings"] == []
    assert "test" not in (run.result() or {}) and not run.recipe().evaluation.test
    assert run.recipe().name == "made/trial-000"


def test_a_stopped_trial_ends_cleanly_at_its_rung(folder: SearchFolder, tmp_path: Path) -> None:
    trial = course(folder)
    trial.next()
    trial.next()
    stop(folder, 2)
    trial.end()
    result = folder.trial(0).result()
    assert result and result["ended"] == "stopped" and result["epochs"] == 2
    whole = alone(folder, tmp_path / "alone").metrics.read()
    assert without_cost(folder.trial(0).metrics.read()) == without_cost(whole[:2])


def test_a_trial_that_is_left_goes_on_in_another_worker(
    folder: SearchFolder, tmp_path: Path
) -> None:
    first = course(folder)
    first.next()
    first.next()
    first.end()
    assert folder.trial(0).exists and not folder.trial(0).finished
    second = course(folder)
    told = [second.next() for _ in range(5)]
    assert [m[EPOCH] for m in told] == [1, 2, 3, 4, 4] and told[4][WHY] == "planned"
    assert len(folder.trial(0).provenance()["starts"]) == 2
    metrics = alone(folder, tmp_path / "alone").metrics.read()
    assert without_cost(folder.trial(0).metrics.read()) == without_cost(metrics)


def test_stopped_while_the_driver_died_it_only_finishes(folder: SearchFolder) -> None:
    first = course(folder)
    first.next()
    first.end()
    stop(folder, 1)
    second = course(folder)
    assert second.next()[EPOCH] == 1
    second.end()
    result = folder.trial(0).result()
    assert result and result["ended"] == "stopped" and result["epochs"] == 1


def test_a_run_that_finished_unheard_is_told_again(folder: SearchFolder) -> None:
    first = course(folder)
    while WHY not in first.next():
        pass
    before = folder.trial(0).result()
    second = course(folder)
    told = [second.next() for _ in range(5)]
    assert told[-1][WHY] == "planned" and [m[EPOCH] for m in told] == [1, 2, 3, 4, 4]
    assert folder.trial(0).result() == before


def test_a_diverged_trial_fails_with_its_reason(folder: SearchFolder) -> None:
    told = course(folder, {**VALUES, "optimizer.rate": 1e30}).next()
    assert told[WHY] == "failed" and told[EPOCH] == 0
    assert json.loads(told[FAILURE])["kind"] == "DivergenceError"


@pytest.mark.parametrize(
    ("error", "kind"),
    [(MemoryError(), "OutOfMemoryError"), (AssertionError("a fault"), "AssertionError")],
)
def test_other_failures_are_the_trials_own(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch, error: Exception, kind: str
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("cifarlab.training.loop.fit", failing)
    told = course(folder).next()
    assert told[WHY] == "failed" and json.loads(told[FAILURE])["kind"] == kind


def test_a_full_disk_is_no_failure_of_the_trial(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    told = course(folder).next()
    assert WHY not in told and "No space left" in told[FATAL]


def test_a_run_that_another_process_does_not_let_go_of_fails_in_words(
    folder: SearchFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifarlab.experiments.search.course._HANDOVER", 0.1)
    with folder.trial(0).in_use():
        told = course(folder).next()
    failure = json.loads(told[FAILURE])
    assert failure["kind"] == "RunFolderError" and "held by another" in failure["what"]
