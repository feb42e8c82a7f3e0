"""Where runs train, and on which GPUs: the choice, its defaults and what it refuses."""

import os
import sys
from pathlib import Path

import pytest
import torch
from made_search import small
from test_worker_pool import MadeExperiment

from cifarlab.experiments.engine import Log, ThisProcess, Workers
from cifarlab.experiments.gpus import divide_gpus
from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.worker import Driver, Job, JobResult
from cifarlab.system.errors import UserError
from cifarlab.system.gpus import visible_gpus


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GPUs, of which nothing else is known."""
    monkeypatch.delenv("CIFARLAB_DEVICE")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("cifarlab.system.gpus._DRIVERS", ("/",))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)


@pytest.mark.parametrize(
    ("device", "env_var", "gpus"),
    [
        ("", None, ["0", "1", "2", "3"]),
        ("cuda", None, ["0", "1", "2", "3"]),
        ("cuda:3", None, ["3"]),
        ("", "7,5,GPU-8c1f,GPU-02ab", ["7", "5", "GPU-8c1f", "GPU-02ab"]),
        ("cuda:2", "7,5,GPU-8c1f,GPU-02ab", ["GPU-8c1f"]),
        ("", "7,5,6,4,-1,3", ["7", "5", "6", "4"]),  # CUDA reads no further
        (
            "",
            "MIG-1,MIG-2,MIG-3,MIG-4,MIG-5",  # a process sees one of them at most
            [f"MIG-{n}" for n in (1, 2, 3, 4, 5)],
        ),
        ("cpu", None, []),
        ("mps", None, []),
    ],
)
def test_the_gpus_are_those_that_the_user_named(
    four_gpus: None,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    env_var: str | None,
    gpus: list[str],
) -> None:
    monkeypatch.setenv("CIFARLAB_DEVICE", device)
    if env_var is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", env_var)
    assert visible_gpus() == gpus


def test_where_no_driver_for_gpus_is_torch_is_not_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CIFARLAB_DEVICE")
    monkeypatch.setattr("cifarlab.system.gpus._DRIVERS", (str(tmp_path / "nvidiactl"),))
    monkeypatch.setitem(sys.modules, "torch", None)  # its import fails
    assert visible_gpus() == []
    (tmp_path / "nvidiactl").touch()
    with pytest.raises(ImportError):
        visible_gpus()


def test_a_gpu_that_is_not_there_is_named(four_gpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFARLAB_DEVICE", "cuda:4")
    with pytest.raises(UserError, match="CIFARLAB_DEVICE=cuda:4"):
        visible_gpus()


@pytest.mark.parametrize(
    ("n_gpus", "jobs", "gpus_per_trial", "expected"),
    [
        (0, None, None, (None, 0.0)),
        (0, 3, None, (3, 0.0)),
        (4, None, None, (4, 1.0)),
        (4, 2, None, (2, 1.0)),
        (4, 5, None, (5, 0.5)),
        (1, 7, None, (7, 0.1428)),  # 0.1429 would be more than the GPU
        (4, None, 0.25, (16, 0.25)),
        (4, 3, 0.25, (3, 0.25)),
        (1, None, 0.1, (10, 0.1)),
        (1, None, 0.3, (3, 0.3333)),
        (8, 8, 1.0, (8, 1.0)),
    ],
)
def test_gpus_are_divided_among_trials(
    n_gpus: int, jobs: int | None, gpus_per_trial: float | None, expected: tuple[int | None, float]
) -> None:
    assert divide_gpus(n_gpus, jobs, gpus_per_trial) == expected


@pytest.mark.parametrize(
    ("n_gpus", "jobs", "gpus_per_trial", "words"),
    [
        (0, None, 1.0, "on no GPU"),
        (0, 2, 0.5, "on no GPU"),
        (1, 2, 1.0, "1 GPU take 1 trials"),
        (2, 9, 0.25, "2 GPUs take 8 trials"),
        (2, 3, 0.6, "2 GPUs take 2 trials"),
    ],
)
def test_more_gpus_than_there_are_is_refused(
    n_gpus: int, jobs: int | None, gpus_per_trial: float, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        divide_gpus(n_gpus, jobs, gpus_per_trial)


@pytest.mark.parametrize("number", [0.0, -1.0, 1.5, 2.0, 0.001, float("nan")])
def test_no_part_of_a_gpu(number: float, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--gpus-per-trial"):
        run_search(small(), placement=Placement(gpus_per_trial=number), runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_gpu_by_number_is_not_ray_s_to_give(
    four_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CIFARLAB_DEVICE", "cuda:3")
    with pytest.raises(UserError, match="CIFARLAB_DEVICE=cuda:3"):
        Placement(cluster="auto").require_valid()


def return_gpu(job: Job, driver: Driver) -> JobResult:
    """Return which GPU a run would see, and which device it would take, as its stop reason."""
    assert not torch.cuda.is_initialized()
    return JobResult(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.environ['CIFARLAB_DEVICE']}")


def choose(placement: Placement, log: Log = print) -> Workers | ThisProcess:
    with placement._replace(train=return_gpu).open_workers(log) as workers:
        return workers


def test_each_process_sees_its_gpu_alone(
    four_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8c1f,3")
    experiment = MadeExperiment(tmp_path, "one", "two", "three")
    workers = choose(Placement(gpus_per_trial=0.5))
    assert isinstance(workers, Workers) and workers.number == 4
    started = [workers.start(slot) for slot in range(3)]
    for worker, job in zip(started, experiment.jobs, strict=True):
        worker.messages.recv()
        worker.send(job)
    seen = [worker.messages.recv().stop_reason for worker in started]
    assert seen == ["GPU-8c1f cuda", "3 cuda", "GPU-8c1f cuda"]
    assert [worker.close() for worker in started] == ["exit code 0"] * 3


def test_several_runs_at_a_time_only_on_request_or_with_gpus(
    four_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {None: 4, 1: 1, 6: 6}
    for jobs, number in numbers.items():
        workers = choose(Placement(jobs))
        assert isinstance(workers, Workers) and workers.number == number
    lines: list[str] = []
    choose(Placement(), lines.append)
    choose(Placement(gpus_per_trial=0.5), lines.append)
    assert [line.partition(" (--jobs N")[0] for line in lines] == [
        "4 at a time, one per GPU",
        "8 at a time, on 4 GPUs",
    ]
    for device in ("cuda:3", "cpu"):
        monkeypatch.setenv("CIFARLAB_DEVICE", device)
        assert isinstance(choose(Placement()), ThisProcess)
        assert isinstance(choose(Placement(2)), Workers)


def test_on_the_only_gpu_this_process_trains(
    four_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert isinstance(choose(Placement(gpus_per_trial=1.0)), ThisProcess)
    assert isinstance(choose(Placement(gpus_per_trial=0.5)), Workers)
