"""A search that ended before its trials: its results, and which trials go on."""

import time
from pathlib import Path
from typing import Any

import pytest
from made_search import SPACE, drawn_event, ended_event, small

from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.driver import SearchDriver
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.worker import Driver, Failure, Job, JobResult
from cifarlab.recipes.catalog import find
from cifarlab.system.errors import DataError, Interrupted, RunFolderError, UserError

SCORES = [0.5, 0.6, 0.4]


@pytest.fixture
def n_pending_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trials the engine could have had, each time; it trains nothing."""
    calls: list[int] = []

    def run(driver: SearchDriver, *_: Any) -> None:
        calls.append(driver.n_pending)

    monkeypatch.setattr("cifarlab.experiments.placement.run_experiment", run)
    return calls


def begin_search(search: Search, runs: Path) -> SearchFolder:
    """Three trials with an epoch each, of which the first has ended."""
    folder = SearchFolder(runs / "searches" / search.name)
    folder.path.mkdir(parents=True)
    for number, score in enumerate(SCORES):
        params = {"optimizer.kind": "adam", "optimizer.lr": 0.01 * (1 + number)}
        folder.events.append(drawn_event(number, params))
        run = folder.trial(number)
        run.write_recipe(search.trial_recipe(params, search.base_recipe()))
        run.write_provenance({"data": {"name": "digits"}})
        train = {"accuracy": score}
        run.metrics.append({"epoch": 1, "train": train, "val": {"accuracy": score}})
    folder.events.append(ended_event(0, "planned", 1, SCORES[0]))
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
    folder.events.path.write_bytes(b"\xff" + folder.events.path.read_bytes())
    with pytest.raises(RunFolderError, match=r"can't read .*search\.jsonl"):
        run_search(small(trials=3), runs=tmp_path, resume=True)
    with pytest.raises(RunFolderError, match=r"can't read .*search\.jsonl"):
        folder.events.repair()


def test_a_trial_that_was_never_drawn_is_refused_before_anything_is_written(
    n_pending_calls: list[int], tmp_path: Path
) -> None:
    folder = begin_search(small(trials=3), tmp_path)
    folder.events.append(ended_event(9, "planned", 1, SCORES[0]))
    with pytest.raises(RunFolderError, match=r"search\.jsonl is damaged: trial-009 was never"):
        run_search(small(trials=5), runs=tmp_path, resume=True)
    assert not folder.file.exists() and n_pending_calls == []


def test_trials_of_other_images_do_not_go_on(n_pending_calls: list[int], tmp_path: Path) -> None:
    """Each would fail for that reason, and stand in the record as failed."""
    folder = begin_search(small(trials=3), tmp_path)
    folder.trial(1).write_provenance({"data": {"name": "digits", "fingerprint": "others"}})
    record = folder.events.path.read_bytes()
    for trials in (3, 5):
        with pytest.raises(RunFolderError, match="the images are not those") as caught:
            run_search(small(trials=trials), runs=tmp_path, resume=True)
        assert "another name" in caught.value.hint
    assert n_pending_calls == [] and folder.events.path.read_bytes() == record


def test_images_that_are_gone_are_not_missed_where_all_trials_have_ended(
    n_pending_calls: list[int], tmp_path: Path
) -> None:
    search = small(trials=3, overrides={"data.source": "no/where"})
    folder = begin_search(search, tmp_path)
    with pytest.raises(DataError, match="no/where"):
        run_search(search, runs=tmp_path, resume=True)
    for number in (1, 2):
        folder.events.append(ended_event(number, "planned", 1, SCORES[number]))
    assert run_search(search, runs=tmp_path).results.best_row and n_pending_calls == []


@pytest.mark.parametrize(("trials", "expected"), [(1, 2), (3, 2), (5, 4)])
def test_all_begun_trials_go_on_even_with_fewer_trials(
    n_pending_calls: list[int], tmp_path: Path, trials: int, expected: int
) -> None:
    search = small(trials=trials, space=SPACE)
    begin_search(search, tmp_path)
    run_search(search, runs=tmp_path, resume=True)
    assert n_pending_calls == [expected]


def train_nothing(job: Job, driver: Driver) -> JobResult:
    """Send an epoch with an accuracy that follows from the learning rate."""
    driver.send({"epoch": 1, "val": {"accuracy": job.recipe.optimizer.lr}})
    driver.recv()
    return JobResult("planned")


@pytest.mark.parametrize("kind", ["DataError", "OutOfMemoryError", "DivergenceError"])
def test_a_resumed_search_takes_up_what_may_not_fail_again(tmp_path: Path, kind: str) -> None:
    """And its sampler knows in the end what that of an undisturbed search does."""

    def fail(job: Job, driver: Driver) -> JobResult:
        if job.name in ("trial-001", "trial-003"):
            return JobResult(failure=Failure(kind, "made", "mend it"))
        return train_nothing(job, driver)

    search = small(trials=5, scheduler={"kind": "none"})  # else the order decides, too
    disturbed = run_search(search, runs=tmp_path / "a", placement=Placement(train=fail))
    assert disturbed.n_failed == 2
    repeated = run_search(search, runs=tmp_path / "a", placement=Placement(train=train_nothing))
    assert repeated.n_failed == 2  # not without --resume
    resumed = run_search(
        search, runs=tmp_path / "a", placement=Placement(train=train_nothing), resume=True
    )
    undisturbed = run_search(search, runs=tmp_path / "b", placement=Placement(train=train_nothing))
    if kind == "DivergenceError":
        assert resumed.n_failed == 2
        return
    tables = [run.folder.content()["results"]["table"] for run in (resumed, undisturbed)]
    assert resumed.n_failed == 0 and tables[0] == tables[1]


def test_a_search_that_was_refused_before_its_first_trial_has_not_begun(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="GPU"):
        placement = Placement(gpus_per_trial=0.5, train=train_nothing)
        run_search(small(trials=2), runs=tmp_path, placement=placement)
    search = small(trials=2, max_epochs="8 epochs")
    assert run_search(search, runs=tmp_path, placement=Placement(train=train_nothing)).n_failed == 0
    with pytest.raises(RunFolderError, match="begun with another"):
        run_search(small(trials=2), runs=tmp_path, placement=Placement(train=train_nothing))


def test_finalists_have_the_time_that_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    begin_search(small(trials=3), tmp_path)
    seeds: list[int] = []

    def train(job: Job, driver: Driver) -> JobResult:
        clock[0] += 50
        seeds.append(job.recipe.seed)
        if driver.poll():
            raise Interrupted("left at its checkpoint", "go on", 0)
        return train_nothing(job, driver)

    options = {"runs": tmp_path, "resume": True, "n_seeds": 2, "max_time": "140 s"}
    finished = run_search(small(trials=3), placement=Placement(train=train), **options)
    assert len(seeds) == 3 and seeds[2] > seeds[1]  # two trials, and a finalist
    assert finished.problems == [
        "the finalists are not finished; go on with: cifarlab.search(..., resume=True)"
    ]
