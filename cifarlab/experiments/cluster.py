"""Workers on a Ray cluster, and how its processors are divided among them.

Ray is used nowhere else: without ``--cluster`` none is started. Ray's usage statistics are off.
"""

import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from cifarlab.experiments.engine import Log, Worker, Workers
from cifarlab.experiments.gpus import divide_gpus
from cifarlab.experiments.worker import TrainJob, train_job, work
from cifarlab.system import files
from cifarlab.system.errors import UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.gpus import allows_gpus
from cifarlab.system.threads import env_threads

_PATH_VARS = {"CIFARLAB_DATA", "CIFARLAB_CACHE", "XDG_CACHE_HOME"}
_ENV_VARS = _PATH_VARS | {f"CIFARLAB_{name}" for name in ("DEVICE", "COMPILE", "PACK", "MIRRORS")}
_GOODBYE = 10.0  # seconds in which Ray says that a killed worker is dead
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning
}


def require_ray() -> None:
    """Import Ray with this project's settings.

    Raises:
        MissingExtraError: Ray is not installed
    """
    os.environ.update({k: v for k, v in _SETTINGS.items() if k not in os.environ})
    require_packages("training on a cluster", "cluster", "ray")


@contextmanager
def cluster_workers(
    address: str,
    jobs: int | None,
    gpus_per_trial: float | None,
    log: Log,
    train: TrainJob = train_job,
) -> Iterator[Workers]:
    """Yield workers on a Ray cluster.

    A cluster to which this process is connected already is used, and stays connected.

    Args:
        address: the cluster's address, ``auto``, or ``local`` to start Ray on this machine
        jobs: trials at a time, which divide the processors; None for one per GPU or machine
        gpus_per_trial: GPUs of a trial; None: as many as ``jobs`` leaves
        log: receives how the cluster is divided, and what becomes of the workers
        train: trains one job

    Raises:
        UserError: no cluster answers at the address, or it has too few GPUs
    """
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    connected = ray.is_initialized()
    if not connected:
        _connect(address)
    try:
        jobs, cpus, gpus = allocate_resources(jobs, gpus_per_trial)
        log(f"{jobs} at a time; for each {gpus:g} GPU, {cpus:g} processors")
        options: dict[str, Any] = {
            "num_cpus": cpus,
            "num_gpus": gpus,
            "runtime_env": {"env_vars": _env_vars(gpus)},
            "concurrency_groups": {"send": 1, "receive": 1},  # a thread for each keeps the order
        }
        remote: Any = ray.remote(**options)(_RemoteWorker)

        def start(_slot: int) -> Worker:
            return _connect_actor(remote.remote(str(Path.cwd()), max(1, int(cpus)), train))

        yield Workers(jobs, start, log)
    finally:
        if not connected:
            ray.shutdown()


def _connect_actor(actor: Any) -> Worker:
    """Return an actor as a worker."""
    import ray

    messages, child = Pipe()
    causes: list[str] = []  # of its death
    forwarding = Thread(target=_forward_messages, args=(actor, child, causes), daemon=True)
    forwarding.start()

    def close() -> str:
        messages.close()
        ray.kill(actor)
        forwarding.join(_GOODBYE)  # a thread that still waits while Ray ends breaks it
        return causes[0] if causes else "for no known reason"

    return Worker(messages, actor.send.options(concurrency_group="send").remote, close)


class _RemoteWorker:
    """An actor that runs ``work`` in a thread and passes messages through a pipe."""

    def __init__(self, directory: str, threads: int, train: TrainJob) -> None:
        if Path(directory).is_dir():  # a machine may have no such folder
            os.chdir(directory)
        self._driver, child = Pipe()
        # Ray shows the actor its own GPU alone
        Thread(target=work, args=(child, threads, {}, train), daemon=True).start()

    def send(self, message: Any) -> None:
        self._driver.send(message)

    def receive(self) -> Any:
        return self._driver.recv()


def _forward_messages(actor: Any, messages: Connection, causes: list[str]) -> None:
    """Forward an actor's messages until it dies or the driver closes the connection."""
    import ray

    receive = actor.receive.options(concurrency_group="receive")
    with messages, suppress(OSError):
        try:
            while True:
                messages.send(ray.get(receive.remote()))
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            causes.append((lines[-1] if "Error" in lines[-1] else lines[0])[:200])


def _connect(address: str) -> None:
    import ray

    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (Exception, SystemExit) as error:  # Ray ends the process where nothing listens
        reason = "nothing listens" if isinstance(error, SystemExit) else files.reason(error)
        raise UserError(
            f"--cluster {address}: no Ray cluster answers there: {reason}",
            "give the address that 'ray start --head' printed, or auto on its machines",
        ) from error


def _env_vars(gpus: float) -> dict[str, str]:
    """Return what a worker's environment is given, for runs with so many GPUs."""
    env_vars = {name: os.environ[name] for name in _ENV_VARS if name in os.environ}
    for name in _PATH_VARS & env_vars.keys():
        env_vars[name] = str(Path(env_vars[name]).absolute())  # workers begin in another folder
    # without this a run would take the processor where PyTorch does not find the GPU
    return env_vars | ({"CIFARLAB_DEVICE": "cuda"} if gpus else {})


def allocate_resources(
    jobs: int | None, gpus_per_trial: float | None = None
) -> tuple[int, float, float]:
    """Return how many trials the cluster trains at a time, and each one's processors and GPUs.

    Processors of a machine count only as far as it has GPUs for the trials on them, where trials
    use GPUs, and as far as $OMP_NUM_THREADS says. A part of one is shared with others.
    """
    import ray

    nodes = [
        (min(int(node["CPU"]), env_threads() or sys.maxsize), int(node.get("GPU", 0)))
        for node in (of_any["Resources"] for of_any in ray.nodes() if of_any["Alive"])
        if node.get("CPU")
    ]
    n_gpus = sum(gpus for _, gpus in nodes) if allows_gpus() else 0
    jobs, gpus = divide_gpus(n_gpus, jobs, gpus_per_trial)
    jobs = jobs or max(1, len(nodes))
    per_gpu = int(1 / gpus + 1e-9) if gpus else 0
    slots = [(cores, n * per_gpu if gpus else jobs) for cores, n in nodes]
    most = max((cores for cores, _ in nodes), default=1)
    fractions = (math.floor(1e4 / n) / 1e4 for n in range(2, jobs + 1))  # as Ray counts
    for cpus in (*range(most, 0, -1), *fractions):
        if sum(min(n, int(cores / cpus + 1e-9)) for cores, n in slots) >= jobs:
            return jobs, cpus, gpus
    return jobs, 1, gpus  # no machine yet
