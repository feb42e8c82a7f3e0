"""A search on a Ray cluster: its processors are divided, a lost worker's trial goes on."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from made_search import TINY, small

from cifarlab.experiments.cluster import allocate_resources, cluster_workers, require_ray
from cifarlab.experiments.search.engine import run_search
from cifarlab.system.errors import UserError


@pytest.mark.parametrize(
    ("processors", "jobs", "threads"),
    [
        ([16, 16], 2, 16),
        ([16, 16], 4, 8),
        ([16, 4], 2, 8),  # 10 each, their mean, would leave the small machine idle and one waiting
        ([3, 3], 3, 1),
        ([16, 0], None, 16),  # a head that trains nothing
        ([2], 8, 1),
    ],
)
def test_as_many_trials_run_at_once_as_jobs_say(
    monkeypatch: pytest.MonkeyPatch, processors: list[int], jobs: int | None, threads: int
) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": float(cores)}} for cores in processors]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert allocate_resources(jobs) == (jobs or 1, threads, 0.0)


def test_gpus_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}] * 2
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.delenv("CIFARLAB_DEVICE", raising=False)
    assert allocate_resources(4)[2] == 1.0 and allocate_resources(5)[2] == 0.5
    monkeypatch.setenv("CIFARLAB_DEVICE", "cpu")
    assert allocate_resources(4)[2] == 0.0


def fail_at_init(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def init(**_: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)


@pytest.mark.parametrize("error", [ConnectionError("nobody"), Exception("odd"), SystemExit(15)])
def test_a_cluster_that_does_not_answer_is_the_user_s_mistake(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fail_at_init(monkeypatch, error)
    what = "--cluster one:1: no Ray cluster"
    with pytest.raises(UserError, match=what), cluster_workers("one:1", 1, None):
        pass


@pytest.fixture
def local_ray() -> Iterator[None]:
    """A Ray of this machine, which the tests use as a cluster."""
    require_ray()
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


class Killer(threading.Thread):
    """Kills the actor that trains, once, when the first trial has an epoch."""

    def __init__(self, metrics: Path) -> None:
        super().__init__(daemon=True)
        self.metrics, self.killed = metrics, False

    def run(self) -> None:
        while not self.metrics.exists():
            time.sleep(0.02)
        for process in psutil.Process().children(recursive=True):
            if any("ray::_RemoteWorker" in word for word in process.cmdline()):
                process.kill()
                self.killed = True


def test_the_table_is_that_of_this_machine_though_a_worker_is_lost(
    local_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    search = small(overrides=TINY, trials=5, max_epochs="4 epochs")
    local = run_search(search, jobs=1, runs=tmp_path / "local")
    killer = Killer(tmp_path / "remote/searches/made/trial-000/metrics.jsonl")
    killer.start()
    remote = run_search(search, jobs=1, cluster="auto", runs=Path("remote"))
    killer.join()
    assert killer.killed and ray.is_initialized()
    assert remote.folder.events_file.read_text() == local.folder.events_file.read_text()
    assert remote.folder.trial(0).provenance()["starts"][1:]
