"""Workers on a Ray cluster, and how its processors are divided among them.

Ray is used nowhere else: without ``--cluster`` none is started. Ray's usage statistics are off.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from cifarlab.experiments.engine import Worker, Workers
from cifarlab.experiments.gpus import divide_gpus
from cifarlab.experiments.worker import TrainJob, train_job, work
from cifarlab.system.errors import UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.threads import env_threads

_PATH_VARS = {"CIFARLAB_DATA", "CIFARLAB_CACHE"}
_ENV_VARS = (*_PATH_VARS, "CIFARLAB_DEVICE", "CIFARLAB_COMPILE", "CIFARLAB_PACK")
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
    address: str, jobs: int | None, gpus_per_trial: float | None, train: TrainJob = train_job
) -> Iterator[Workers]:
    """Yield workers on a Ray cluster.

    A cluster to which this process is connected already is used, and stays connected.

    Args:
        address: the cluster's address, ``auto``, or ``local`` to start Ray on this machine
        jobs: trials at a time, which divide the processors; None for one per GPU or machine
        gpus_per_trial: GPUs of a trial; None: as many as ``jobs`` leaves
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
        jobs, threads, gpus = allocate_resources(jobs, gpus_per_trial)
        remote: Any = ray.remote(_RemoteWorker).options(
            num_cpus=threads, num_gpus=gpus, max_concurrency=4
        )

        def start(slot: int) -> Worker:
            actor: Any = remote.remote(str(Path.cwd()), threads, train)
            messages, child = Pipe()
            causes: list[str] = []  # of its death
            forwarding = Thread(target=_forward_messages, args=(actor, child, causes), daemon=True)
            forwarding.start()

            def close() -> str:
                messages.close()
                ray.kill(actor)
                forwarding.join(_GOODBYE)  # a thread that still waits while Ray ends breaks it
                return causes[0] if causes else "for no known reason"

            return Worker(slot, messages, actor.send.remote, close)

        yield Workers(jobs, start)
    finally:
        if not connected:
            ray.shutdown()


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

    with messages, suppress(OSError):
        try:
            while True:
                messages.send(ray.get(actor.receive.remote()))
        except ray.exceptions.RayError as error:
            lines = str(error).strip().splitlines()
            causes.append((lines[-1] if "Error" in lines[-1] else lines[0])[:200])


def _connect(address: str) -> None:
    import ray

    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    env_vars = {name: os.environ[name] for name in _ENV_VARS if name in os.environ}
    for name in _PATH_VARS & env_vars.keys():
        env_vars[name] = str(Path(env_vars[name]).absolute())  # workers begin in another folder
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": env_vars},
            **options,
        )
    except (Exception, SystemExit) as error:  # Ray ends the process where nothing listens
        reason = "nothing listens" if isinstance(error, SystemExit) else str(error)[:120]
        raise UserError(
            f"--cluster {address}: no Ray cluster answers there: {reason}",
            "give the address that 'ray start --head' printed, or auto on its machines",
        ) from error


def allocate_resources(
    jobs: int | None, gpus_per_trial: float | None = None
) -> tuple[int, int, float]:
    """Return how many trials the cluster trains at a time, and each one's threads and GPUs."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    processors = [int(node["CPU"]) for node in nodes if node.get("CPU")]
    uses_gpus = os.environ.get("CIFARLAB_DEVICE", "") in ("", "cuda")
    n_gpus = sum(int(node.get("GPU", 0)) for node in nodes) if uses_gpus else 0
    jobs, gpus = divide_gpus(n_gpus, jobs, gpus_per_trial)
    jobs = jobs or max(1, len(processors))
    threads = _threads_per_trial(processors, jobs)
    return jobs, min(threads, env_threads() or threads), gpus


def _threads_per_trial(processors: list[int], jobs: int) -> int:
    """Return the most threads that each of ``jobs`` trials can have, each on one machine."""
    numbers = range(1, max(processors, default=1) + 1)
    return max((n for n in numbers if sum(cores // n for cores in processors) >= jobs), default=1)
