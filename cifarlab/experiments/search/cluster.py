"""Ray, started on this machine or found on a cluster, and how its processors are shared out.

Started here, it listens on the loopback address only, keeps its files in a folder that goes with
it, and has no dashboard. Nothing is reported to Ray's makers either way.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cifarlab.system.errors import CifarlabError, UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.threads import available_threads, env_threads

# the paths of its sockets may not be long, so not under a long $TMPDIR
_ROOT = Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())
_TEMP_PREFIX = "cifarlab-ray-"
_OBJECTS = 80 * 2**20  # bytes; trials read their images from the cache, not from Ray
_PASSED_ON = (
    *("CIFARLAB_DATA", "CIFARLAB_CACHE"),
    *("CIFARLAB_DEVICE", "CIFARLAB_COMPILE", "CIFARLAB_PACK"),
)
_PATHS = {"CIFARLAB_DATA", "CIFARLAB_CACHE"}
_REACHABLE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # whether other machines may reach Ray's ports
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # it prints a banner whatever the verbosity
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # relative paths of data stay what they are
    "RAY_worker_niceness": "0",  # a trial is as nice as the command that began it
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # run folders have it all
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the engine has its own
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",  # the record has it all
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "auto",
}


class TrialResources(NamedTuple):
    """What one trial gets, and how many run at a time."""

    jobs: int
    threads: int
    gpus: float


def require_extra(cluster: str | None = None) -> None:
    """Import Ray Tune and Optuna with our settings. Raises MissingExtraError where one is missing.

    Without a ``cluster`` Ray will listen on the loopback address only, unless it was imported
    before.
    """
    settings = {**_SETTINGS, _REACHABLE: "0" if cluster is None else "1"}
    os.environ.update({k: v for k, v in settings.items() if k not in os.environ})
    require_packages("a search", "search", "ray.tune", "optuna")


@contextmanager
def connect_ray(jobs: int | None, address: str | None) -> Iterator[TrialResources]:
    """Ray for the block: that of a cluster, or one started here for ``jobs`` trials (default 1).

    A Ray that this process has already is used and left as it is. Raises UserError where no
    cluster answers.
    """
    import ray

    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if ray.is_initialized():
        yield _cluster_resources(jobs)
        return
    if address is not None:
        _connect_to_cluster(address)
        try:
            yield _cluster_resources(jobs)
        finally:
            ray.shutdown()
        return
    with _start_local_ray(jobs or 1) as resources:
        yield resources


@contextmanager
def _start_local_ray(jobs: int) -> Iterator[TrialResources]:
    import ray

    threads = max(1, available_threads().number // jobs)
    _remove_stale_dirs()
    temp_dir = tempfile.mkdtemp(prefix=f"{_TEMP_PREFIX}{os.getpid()}-", dir=_ROOT)
    try:
        _init_ray(jobs * threads, temp_dir)
        gpus = float(ray.cluster_resources().get("GPU", 0))
        yield TrialResources(jobs, threads, _gpus_per_trial(gpus, jobs))
    finally:
        ray.shutdown()
        shutil.rmtree(temp_dir, ignore_errors=True)


def _init_ray(processors: int, temp_dir: str) -> None:
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=processors,
            _temp_dir=temp_dir,
            object_store_memory=_OBJECTS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except Exception as error:  # it raises a plain one where its processes are too slow
        raise CifarlabError(
            f"Ray did not start on this machine: {str(error)[:120]}",
            "free some memory, disk or processors (Ray gives up where others keep them all busy), "
            "then go on with --resume",
        ) from error


def _connect_to_cluster(address: str) -> None:
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


def _cluster_resources(jobs: int | None) -> TrialResources:
    """A cluster's processors among ``jobs`` trials; by default one trial per machine."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    processors = [int(node["CPU"]) for node in nodes if node.get("CPU")]
    jobs = jobs or max(1, len(processors))
    threads = _threads_per_trial(processors, jobs)
    threads = min(threads, env_threads() or threads)
    return TrialResources(
        jobs, threads, _gpus_per_trial(sum(node.get("GPU", 0) for node in nodes), jobs)
    )


def _threads_per_trial(processors: list[int], jobs: int) -> int:
    """The most that each of ``jobs`` trials can have at once; none spreads over two machines."""
    for threads in range(max(processors, default=1), 1, -1):
        if sum(there // threads for there in processors) >= jobs:
            return threads
    return 1


def _gpus_per_trial(gpus: float, jobs: int) -> float:
    """A whole GPU for each trial, or a part where there are more trials than GPUs."""
    if not gpus or os.environ.get("CIFARLAB_DEVICE") == "cpu":
        return 0.0
    per_gpu = -(-jobs // int(gpus))
    return 1.0 / per_gpu


def _remove_stale_dirs() -> None:
    """Remove what Ray left behind whose driver was killed."""
    for temp_dir in _ROOT.glob(f"{_TEMP_PREFIX}*-*"):
        pid = temp_dir.name.removeprefix(_TEMP_PREFIX).partition("-")[0]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(temp_dir, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
