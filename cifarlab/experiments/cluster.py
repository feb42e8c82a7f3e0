"""Workers on a Ray cluster, and how its processors are shared out.

The only use of Ray: a search on this machine starts none. Nothing is reported to Ray's makers.
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
from cifarlab.experiments.worker import TrainJob, train_job, work
from cifarlab.system.errors import UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.threads import env_threads

_PATHS = {"CIFARLAB_DATA", "CIFARLAB_CACHE"}
_PASSED_ON = (*_PATHS, "CIFARLAB_DEVICE", "CIFARLAB_COMPILE", "CIFARLAB_PACK")
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning
}


def require_ray() -> None:
    """Import Ray with our settings. Raises MissingExtraError where it is missing."""
    os.environ.update({k: v for k, v in _SETTINGS.items() if k not in os.environ})
    require_packages("a search on a cluster", "search", "ray")


@contextmanager
def cluster_workers(
    address: str, jobs: int | None, train: TrainJob = train_job
) -> Iterator[Workers]:
    """Yield workers on the cluster.

    ``jobs`` share its processors; by default one per machine. A cluster to which this process is
    connected already is used and left as it is. Raises UserError where no cluster answers.
    """
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    connected = ray.is_initialized()
    if not connected:
        _connect(address)
    try:
        jobs, threads, gpus = cluster_resources(jobs)
        remote: Any = ray.remote(_Remote).options(
            num_cpus=threads, num_gpus=gpus, max_concurrency=4
        )

        def start(slot: int) -> Worker:
            actor: Any = remote.remote(str(Path.cwd()), threads, train)
            messages, theirs = Pipe()
            causes: list[str] = []  # of its death
            Thread(target=_pass_on, args=(actor, theirs, causes), daemon=True).start()

            def close() -> str:
                messages.close()
                ray.kill(actor)
                return causes[0] if causes else "for no known reason"

            return Worker(slot, messages, actor.send.remote, close)

        yield Workers(jobs, start)
    finally:
        if not connected:
            ray.shutdown()


class _Remote:
    """The actor: ``work`` in a thread, which others reach through a pipe."""

    def __init__(self, directory: str, threads: int, train: TrainJob) -> None:
        if Path(directory).is_dir():  # a machine may have no such folder
            os.chdir(directory)
        self._driver, theirs = Pipe()
        # the slot is 0: Ray shows the actor its own GPU alone
        Thread(target=work, args=(theirs, 0, threads, train), daemon=True).start()

    def send(self, message: Any) -> None:
        self._driver.send(message)

    def receive(self) -> Any:
        return self._driver.recv()


def _pass_on(actor: Any, messages: Connection, causes: list[str]) -> None:
    """Pass on what an actor says until it dies or nobody listens any more."""
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

    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    for name in _PATHS & passed.keys():
        passed[name] = str(Path(passed[name]).absolute())  # workers begin in another folder
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            runtime_env={"env_vars": passed},
        )
    except (Exception, SystemExit) as error:  # Ray ends the process where nothing listens
        why = "nothing listens" if isinstance(error, SystemExit) else str(error)[:120]
        raise UserError(
            f"--cluster {address}: no Ray cluster answers there: {why}",
            "give the address that 'ray start --head' printed, or auto on its machines",
        ) from error


def cluster_resources(jobs: int | None) -> tuple[int, int, float]:
    """Return how many trials at a time the cluster trains, and each one's threads and GPUs.

    A whole GPU for each trial, or a part where there are more trials than GPUs.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    processors = [int(node["CPU"]) for node in nodes if node.get("CPU")]
    jobs = jobs or max(1, len(processors))
    threads = _threads_per_trial(processors, jobs)
    n_gpus = int(sum(node.get("GPU", 0) for node in nodes))
    if not n_gpus or os.environ.get("CIFARLAB_DEVICE") == "cpu":
        gpus = 0.0
    else:
        gpus = 1 / -(-jobs // n_gpus)
    return jobs, min(threads, env_threads() or threads), gpus


def _threads_per_trial(processors: list[int], jobs: int) -> int:
    """The most that each of ``jobs`` trials can have at once; none spreads over two machines."""
    for threads in range(max(processors, default=1), 1, -1):
        if sum(there // threads for there in processors) >= jobs:
            return threads
    return 1
