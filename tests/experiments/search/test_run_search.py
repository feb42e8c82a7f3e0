"""Searches as they are, in processes of this machine: few, since each takes seconds."""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from made_search import SPACE, TINY, small
from PIL import Image

from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.engine import FinishedSearch, run_search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.worker import Driver, Job, JobResult
from cifarlab.metrics.kinds import LogLoss
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import from_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.system.errors import Interrupted, MissingExtraError, RunFolderError, UserError
from cifarlab.training.train import train


def tiny(**overrides: Any) -> Search:
    return small(**{"overrides": TINY, "trials": 5, "max_epochs": "4 epochs", **overrides})


@pytest.fixture(scope="module")
def finished_search(tmp_path_factory: pytest.TempPathFactory) -> FinishedSearch:
    """Five trials, one at a time, so that the seed decides everything."""
    return run_search(tiny(), placement=Placement(1), runs=tmp_path_factory.mktemp("searched"))


def table(finished: FinishedSearch) -> list[dict[str, Any]]:
    return list(finished.folder.content()["results"]["table"])


def test_a_search_by_a_loss_looks_for_the_least(tmp_path: Path) -> None:
    finished = run_search(tiny(metric="log_loss", trials=4), placement=Placement(1), runs=tmp_path)
    rows = table(finished)
    scores = [row["score"] for row in rows]
    assert scores == sorted(scores) and len(set(scores)) == 4
    for row in rows:
        losses = [
            line["val"]["loss"] for line in finished.folder.trial(row["trial"]).metrics.read()
        ]
        assert row["score"] == min(losses) and losses[row["best_epoch"] - 1] == min(losses)
        for rung in row["rungs"]:
            assert rung["score"] == min(losses[: rung["epoch"]])
            assert rung["stopped"] == (
                rung["cutoff"] is not None and rung["score"] > rung["cutoff"]
            )
    page = (finished.folder.path / "page.md").read_text(encoding="utf-8")
    assert "the best epoch's validation log loss, less is better" in page
    assert f"Best: trial-{rows[0]['trial']:03d}, {scores[0]:.4f}, in best.yaml" in page
    assert from_yaml(finished.folder.best_recipe).evaluation.metric.kind == "log_loss"
    assert finished.folder.metric == LogLoss().facts


def test_trials_are_runs_and_say_how_they_ended(finished_search: FinishedSearch) -> None:
    rows = table(finished_search)
    assert len(rows) == 5 and {row["stop_reason"] for row in rows} == {"planned", "stopped"}
    for row in rows:
        run = finished_search.folder.trial(row["trial"])
        result = run.result()
        assert (
            result
            and result["stop_reason"] == row["stop_reason"]
            and result["epochs"] == row["epochs"]
        )
        assert "test" not in result and run.provenance()["test_openings"] == []
    stopped = [row for row in rows if row["stop_reason"] == "stopped"]
    assert all(row["rungs"][-1]["stopped"] for row in stopped)
    assert (finished_search.folder.path / "page.md").exists() and not finished_search.problems


def test_the_best_recipe_alone_gives_the_same_validation_curve(
    finished_search: FinishedSearch, tmp_path: Path
) -> None:
    recipe = find(str(finished_search.folder.best_recipe))
    assert recipe.evaluation.test  # whoever trains it may look, once
    train(recipe, RunFolder(tmp_path / "alone"))
    best = finished_search.folder.trial(table(finished_search)[0]["trial"])
    curve = [without_cost(line) for line in best.metrics.read()]
    alone = [without_cost(line) for line in RunFolder(tmp_path / "alone").metrics.read()]
    assert curve == alone[: len(curve)] and curve


def count_epochs(job: Job, driver: Driver) -> JobResult:
    """Train nothing, and leave a file for each process that is taken."""
    (Path(job.path).parent / f"{os.getpid()}.pid").touch()
    for epoch in range(1, 5):
        driver.send({"epoch": epoch, "val": {"accuracy": epoch / 10}})
        if driver.recv() is not True:
            return JobResult("stopped")
    return JobResult("planned")


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_are_reused(tmp_path: Path, jobs: int) -> None:
    finished = run_search(
        tiny(trials=12), placement=Placement(jobs, train=count_epochs), runs=tmp_path
    )
    assert len(table(finished)) == 12
    assert len(list(finished.folder.path.glob("*.pid"))) <= jobs


def test_finished_trials_are_not_trained_again(finished_search: FinishedSearch) -> None:
    before = finished_search.folder.events.path.read_text()
    finished = run_search(tiny(), runs=finished_search.folder.path.parents[1])
    assert finished_search.folder.events.path.read_text() == before and table(finished) == table(
        finished_search
    )


def test_another_search_is_refused(finished_search: FinishedSearch) -> None:
    runs = finished_search.folder.path.parents[1]
    with pytest.raises(RunFolderError, match="begun with another seed"):
        run_search(tiny(seed=3), runs=runs)
    with pytest.raises(RunFolderError, match="another max"):
        run_search(tiny(max_epochs="5 epochs"), runs=runs)


def copy_killed(finished: FinishedSearch, runs: Path, events: int) -> SearchFolder:
    """The search as a driver that was killed after so many events left it."""
    import shutil

    path = runs / "searches" / "made"
    shutil.copytree(finished.folder.path, path)
    lines = finished.folder.events.path.read_text().splitlines(keepends=True)
    (path / "search.jsonl").write_text("".join(lines[:events]) + lines[events][:9])
    for number in range(5):
        if f'"drawn", "trial": {number},' not in "".join(lines[:events]):
            shutil.rmtree(path / f"trial-{number:03d}")
    return SearchFolder(path)


@pytest.mark.parametrize("events", [1, 6])
def test_a_killed_driver_loses_nothing(
    finished_search: FinishedSearch, tmp_path: Path, events: int
) -> None:
    copy_killed(finished_search, tmp_path, events)
    with pytest.raises(RunFolderError, match="--resume"):
        run_search(tiny(), runs=tmp_path, command="cifarlab search x")
    finished = run_search(tiny(), placement=Placement(1), runs=tmp_path, resume=True)
    assert table(finished) == table(finished_search)
    assert finished.folder.events.path.read_text() == finished_search.folder.events.path.read_text()


def test_data_lie_where_the_command_is_given_not_where_workers_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, grey in {"dark": 0, "light": 255}.items():
        (tmp_path / "shades" / name).mkdir(parents=True)
        for number in range(10):
            image = Image.new("L", (8, 8), abs(grey - number))
            image.save(tmp_path / "shades" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    finished = run_search(tiny(trials=1, max_epochs="1 epoch"), data="shades", runs=Path("runs"))
    assert [row["stop_reason"] for row in table(finished)] == ["planned"]


def test_a_failing_trial_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    space = {"optimizer.lr": {"kind": "choice", "values": [1e30, 0.1]}}
    finished = run_search(
        tiny(space=space, max_epochs="1 epoch"), placement=Placement(2), runs=tmp_path
    )
    rows = table(finished)
    stop_reasons = {row["stop_reason"] for row in rows}
    assert stop_reasons == {"planned", "failed"} and len(rows) == 5
    failed = [row for row in rows if row["stop_reason"] == "failed"]
    assert all("NaN" in row["stop_description"] and row["score"] is None for row in failed)


def test_a_dead_worker_costs_an_epoch_at_most(
    finished_search: FinishedSearch, tmp_path: Path
) -> None:
    killer = Killer(tmp_path / "searches" / "made")
    killer.start()
    finished = run_search(tiny(), placement=Placement(1), runs=tmp_path)
    killer.join()
    assert killer.killed and table(finished) == table(finished_search)


class Killer(threading.Thread):
    """Kills the worker that trains, once, when the first trial has an epoch."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path, self.killed = path, False

    def run(self) -> None:
        import psutil

        metrics = self.path / "trial-000" / "metrics.jsonl"
        wait_for(metrics.exists)
        for process in psutil.Process().children(recursive=True):
            if any("multiprocessing.spawn" in word for word in process.cmdline()):
                process.kill()
                self.killed = True


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def test_a_signal_ends_the_search_and_resume_goes_on(
    finished_search: FinishedSearch, tmp_path: Path
) -> None:
    metrics = tmp_path / "searches" / "made" / "trial-000" / "metrics.jsonl"

    def interrupt() -> None:
        wait_for(metrics.exists)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(Interrupted, match="interrupted after") as caught:
        run_search(tiny(), placement=Placement(1), runs=tmp_path, command="cifarlab search made")
    assert caught.value.hint == "go on with: cifarlab search made --resume"
    finished = run_search(tiny(), placement=Placement(1), runs=tmp_path, resume=True)
    assert table(finished) == table(finished_search)


def test_finalists_are_trained_with_seeds_that_no_trial_had(
    finished_search: FinishedSearch,
) -> None:
    finished = run_search(tiny(), runs=finished_search.folder.path.parents[1], n_seeds=2)
    assert finished.finalists
    seeds = {seed for line in finished.finalists.comparison.rows for seed in line.values}
    assert seeds == {1, 2} and finished.finalists.comparison.split == "val"
    assert all(bias.n == 2 and bias.interval for bias in finished.finalists.selection_bias)
    assert "## Finalists" in (finished_search.folder.path / "page.md").read_text()
    runs = [
        RunFolder(p.parent) for p in (finished_search.folder.path / "studies").rglob("result.json")
    ]
    assert runs and all(run.provenance()["test_openings"] == [] for run in runs)
    later = run_search(tiny(), runs=finished_search.folder.path.parents[1])
    assert later.finalists == finished.finalists  # still there without --n-seeds
    assert "## Finalists" in (finished_search.folder.path / "page.md").read_text()


@pytest.mark.parametrize(("package", "extra"), [("ray", "cluster"), ("optuna", "search")])
def test_without_the_extra_it_says_what_to_install(
    package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = "auto" if package == "ray" else None
    for name in [n for n in sys.modules if n == package or n.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError) as caught:
        run_search(tiny(), runs=tmp_path, placement=Placement(cluster=cluster))
    assert package in caught.value.what and f"cifarlab[{extra}]" in caught.value.hint
    assert not (tmp_path / "searches").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"placement": Placement(0)}, "--jobs 0"),
        ({"n_seeds": 0}, "--n-seeds 0"),
        ({"scale": 2.0}, "scale of 2"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        run_search(tiny(), runs=tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_a_bad_space_is_refused_before_anything_starts(tmp_path: Path) -> None:
    bad = {**SPACE, "optimizer.rat": SPACE["optimizer.lr"]}
    with pytest.raises(UserError, match=r"optimizer\.rat"):
        run_search(tiny(space=bad), runs=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_record_is_a_line_per_event(finished_search: FinishedSearch) -> None:
    events = [
        json.loads(line) for line in finished_search.folder.events.path.read_text().splitlines()
    ]
    assert [e["trial"] for e in events if e["event"] == "drawn"] == list(range(5))
    assert sum(e["event"] == "ended" for e in events) == 5
