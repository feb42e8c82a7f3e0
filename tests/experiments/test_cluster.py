"""Experiments on a Ray cluster: each run sees its own GPU, what is lost goes on elsewhere."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import psutil
import pytest
import ray
from made_plan import LR
from made_search import TINY, small
from made_study import write_run
from ray.cluster_utils import Cluster
from test_study_engine import STUDY, plain_comparison, runs_of

from cifarlab.experiments.cluster import allocate_resources, cluster_workers, require_ray
from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.worker import Driver, Job, JobResult
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import UserError

Nodes = list[tuple[int, int]]


@pytest.fixture
def set_nodes(monkeypatch: pytest.MonkeyPatch) -> Callable[[Nodes], None]:
    """Let Ray know nodes with so many processors and GPUs, and a dead one."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.delenv("CIFARLAB_DEVICE")

    def set_them(nodes: Nodes) -> None:
        made = [
            {"Alive": True, "Resources": {"CPU": float(cpus), "GPU": float(gpus)}}
            for cpus, gpus in nodes
        ]
        made.append({"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}})
        monkeypatch.setattr(ray, "nodes", lambda: made)

    return set_them


def count_slots(nodes: Nodes, cpus: float, gpus: float) -> int:
    """Return how many actors that ask for so much Ray starts at once; it counts in 1e-4."""
    cpu_need, gpu_need = round(1e4 * cpus), round(1e4 * gpus)
    per_gpu = 10**4 // gpu_need if gpus else 0
    return sum(min(cores * 10**4 // cpu_need, n * per_gpu if gpus else 10**4) for cores, n in nodes)


@pytest.mark.parametrize(
    ("nodes", "options", "expected"),
    [
        ([(16, 0), (16, 0)], (2,), (2, 16, 0)),
        ([(16, 0), (16, 0)], (4,), (4, 8, 0)),
        ([(16, 0), (4, 0)], (2,), (2, 8, 0)),  # 10, their mean, would leave the small one idle
        ([(3, 0), (3, 0)], (3,), (3, 1, 0)),
        ([(16, 0), (0, 0)], (), (1, 16, 0)),  # a head that trains nothing
        ([(2, 0)], (8,), (8, 0.25, 0)),
        ([(1, 0)], (7,), (7, 0.1428, 0)),
        ([(8, 2), (8, 2)], (), (4, 4, 1)),
        ([(8, 2), (8, 2)], (2,), (2, 8, 1)),
        ([(8, 2), (8, 2)], (5,), (5, 2, 0.5)),
        ([(8, 2), (8, 2)], (None, 0.25), (16, 1, 0.25)),
        ([(64, 0), (64, 8)], (), (8, 8, 1)),  # the first has no GPU for its processors
        ([(16, 8), (64, 1)], (), (9, 2, 1)),
        ([(2, 4)], (), (4, 0.5, 1)),
        ([(0, 8), (8, 1)], (), (1, 8, 1)),
        ([(7, 3)], (None, 0.0166), (180, 0.0384, 0.0166)),
    ],
)
def test_as_many_trials_run_at_once_as_are_announced(
    set_nodes: Callable[[Nodes], None], nodes: Nodes, options: Any, expected: Any
) -> None:
    set_nodes(nodes)
    jobs, cpus, gpus = allocate_resources(*options or (None,))
    assert (jobs, cpus, gpus) == expected
    assert count_slots(nodes, cpus, gpus) >= jobs


def test_the_user_says_how_many_processors_of_a_machine_and_whether_gpus_are_used(
    set_nodes: Callable[[Nodes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_nodes([(16, 2), (4, 2)])
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert allocate_resources(2) == (2, 4, 1)
    monkeypatch.setenv("CIFARLAB_DEVICE", "cpu")
    assert allocate_resources(4) == (4, 2, 0)
    with pytest.raises(UserError, match="on no GPU"):
        allocate_resources(4, 0.5)


class MadeRay:
    """Stands in for Ray's actors: it keeps their options, and they never send anything."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.options: dict[str, Any] = {}
        self.killed = threading.Event()
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "remote", self.take)
        monkeypatch.setattr(ray, "get", self.wait)
        monkeypatch.setattr(ray, "kill", lambda _: self.killed.set())

    def take(self, **options: Any) -> Any:
        self.options = options
        return lambda _: MagicMock()

    def wait(self, _: Any) -> None:
        assert self.killed.wait(20)
        raise ray.exceptions.RayError("killed")


def test_workers_on_a_connected_cluster_have_the_driver_s_variables(
    set_nodes: Callable[[Nodes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_nodes([(8, 2)])
    made = MadeRay(monkeypatch)
    monkeypatch.setenv("CIFARLAB_CACHE", "cache")
    monkeypatch.setenv("CIFARLAB_MIRRORS", "https://mirror")
    lines: list[str] = []
    with cluster_workers("auto", None, None, lines.append) as workers:
        env_vars = made.options["runtime_env"]["env_vars"]
    assert workers.number == 2 and lines == ["2 at a time; for each 1 GPU, 4 processors"]
    assert env_vars["CIFARLAB_CACHE"] == str(Path("cache").absolute())
    assert env_vars["CIFARLAB_MIRRORS"] == "https://mirror"
    assert env_vars["CIFARLAB_DEVICE"] == "cuda"  # not the processor, where the GPU is not found
    monkeypatch.setenv("CIFARLAB_DEVICE", "cpu")
    with cluster_workers("auto", None, None, print):
        assert made.options["runtime_env"]["env_vars"]["CIFARLAB_DEVICE"] == "cpu"


def fail_at_init(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def init(**_: Any) -> None:
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)


@pytest.mark.parametrize(
    "error", [ConnectionError("nobody"), Exception("odd:\n  1"), SystemExit(15)]
)
def test_a_cluster_that_does_not_answer_is_the_user_s_mistake(
    monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    fail_at_init(monkeypatch, error)
    what = "--cluster one:1: no Ray cluster"
    with pytest.raises(UserError, match=what) as caught, cluster_workers("one:1", 1, None, print):
        pass
    assert "\n" not in caught.value.what


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes with two GPUs each, as far as Ray knows, beside a head that trains nothing."""
    require_ray()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # of the nodes, for ``note_gpu``
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(3):
            made.add_node(num_cpus=2, num_gpus=2, wait=False)
        made.wait_for_nodes()
        yield made
        made.shutdown()


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


def test_a_search_has_one_table_on_each_back_end_though_a_worker_is_lost(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ray.init(address=cluster.address, log_to_driver=False)
    search = small(overrides=TINY, trials=5, max_epochs="4 epochs")
    here = run_search(search, runs=tmp_path / "here")
    process = run_search(search, placement=Placement(1), runs=tmp_path / "process")
    killer = Killer(tmp_path / "remote/searches/made/trial-000/metrics.jsonl")
    killer.start()
    remote = run_search(search, placement=Placement(1, "auto"), runs=Path("remote"))
    killer.join()
    assert killer.killed and ray.is_initialized()  # as it was before
    ray.shutdown()
    for other in (process, remote):
        assert other.folder.events.path.read_text() == here.folder.events.path.read_text()
        assert (other.folder.path / "table.csv").read_text() == (
            here.folder.path / "table.csv"
        ).read_text()
    assert remote.folder.trial(0).provenance()["starts"][1:]


def test_a_study_has_one_table_on_each_back_end(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    placements: dict[str, dict[str, Any]] = {
        "here": {},
        "processes": {"placement": Placement(2)},
        "remote": {"placement": Placement(2, cluster.address)},
    }
    here, *others = (run_study(STUDY, runs=Path(p), **options) for p, options in placements.items())
    for other in others:
        assert plain_comparison(other) == plain_comparison(here)
        assert runs_of(other) == runs_of(here)


def finish(job: Job) -> None:
    accuracy = 0.5 + job.recipe.seed / 100 + job.recipe.optimizer.lr / 10
    write_run(RunFolder(job.path), job.recipe, accuracy, "digits", "images")


def finish_here(job: Job, driver: Driver) -> JobResult:
    """Train nothing."""
    finish(job)
    return JobResult("planned")


def note_gpu(job: Job, driver: Driver) -> JobResult:
    """Train nothing for three epochs; note on which GPU of which node, from when to when."""
    path = Path(job.path)
    path.mkdir(exist_ok=True)
    assert os.environ["CIFARLAB_DEVICE"] == "cuda"
    node, gpu = ray.get_runtime_context().get_node_id(), os.environ["CUDA_VISIBLE_DEVICES"]
    for epoch in (1, 2, 3):
        begin = time.time()
        time.sleep(0.2)
        with (path / "gpu.jsonl").open("a") as file:
            file.write(json.dumps([node, gpu, begin, time.time()]) + "\n")
        while len(list(path.parent.glob("*/gpu.jsonl"))) < 6:  # until each node has two runs
            time.sleep(0.05)
        driver.send({"epoch": epoch})
        driver.recv()
    finish(job)
    return JobResult("planned")


def test_each_run_has_a_gpu_of_its_node_to_itself_though_nodes_are_lost(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CIFARLAB_DEVICE")
    monkeypatch.setattr("cifarlab.experiments.study.engine.write_comparison", lambda *_: None)
    rows = [StudyRow(name=f"row-{n}", recipe="quickstart", overrides={LR: 0.1 + n}) for n in (0, 1)]
    study, nodes = Study(name="gpus", n_seeds=6, rows=tuple(rows)), [*cluster.worker_nodes]
    first_nodes = {node.node_id for node in nodes}

    def lose_nodes(line: str) -> None:
        """Take a node away after the second, the fifth and the eighth end of a run."""
        if line.startswith(("2/12", "5/12", "8/12")) and "validation" in line:
            if len(nodes) == 1:
                cluster.add_node(num_cpus=2, num_gpus=2)
            cluster.remove_node(nodes.pop(), allow_graceful=False)

    here = run_study(study, runs=tmp_path / "here", placement=Placement(train=finish_here))
    options = {"placement": Placement(None, cluster.address, 1.0, note_gpu), "log": lose_nodes}
    killed = run_study(study, runs=tmp_path / "killed", **options)
    assert not nodes and not killed.n_failed
    assert plain_comparison(killed) == plain_comparison(here)
    files = killed.folder.path.glob("*/gpu.jsonl")
    epochs = sorted(json.loads(line) for file in files for line in file.read_text().splitlines())
    assert len(epochs) > 3 * 12  # some were lost with their nodes
    assert {node for node, *_ in epochs} > first_nodes and {e[1] for e in epochs} == {"0", "1"}
    for (*gpu, _, end), (*next_gpu, begin, _) in pairwise(epochs):
        assert gpu != next_gpu or begin >= end
