"""Workers that are processes of this machine."""

from collections.abc import Sequence
from multiprocessing import Pipe

from cifarlab.experiments.engine import Log, Worker, Workers
from cifarlab.experiments.worker import TrainJob, train_job, work
from cifarlab.system.spawning import start_process
from cifarlab.system.threads import available_threads


def local_workers(
    jobs: int, log: Log, train: TrainJob = train_job, gpus: Sequence[str] = ()
) -> Workers:
    """Return workers that are processes of this machine and divide its free cores and its GPUs.

    Args:
        jobs: number of workers
        log: receives a note where other processes use the machine
        train: trains one job
        gpus: as CUDA_VISIBLE_DEVICES names them; each worker sees the next one alone
    """
    available = available_threads()
    if available.note:
        log(available.note)
    threads = max(1, available.number // jobs)

    def start(slot: int) -> Worker:
        connection, child = Pipe()
        gpu = gpus[slot % len(gpus)] if gpus else None
        env_vars = {"CUDA_VISIBLE_DEVICES": gpu, "CIFARLAB_DEVICE": "cuda"} if gpu else {}
        process = start_process(work, (child, threads, env_vars, train))
        child.close()

        def close() -> str:
            connection.close()
            process.join()
            return f"exit code {process.exitcode}"

        return Worker(connection, connection.send, close)

    return Workers(jobs, start, log)
