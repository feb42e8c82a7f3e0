"""Where runs train: in this process, in processes of this machine or on a Ray cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import NamedTuple, Self

from cifarlab.experiments.cluster import cluster_workers, require_ray
from cifarlab.experiments.engine import Experiment, Log, ThisProcess, Workers, run_experiment
from cifarlab.experiments.gpus import divide_gpus
from cifarlab.experiments.local_workers import local_workers
from cifarlab.experiments.worker import TrainJob, train_job
from cifarlab.system.errors import UserError
from cifarlab.system.gpus import visible_gpus


def require_count(option: str, count: int | None) -> None:
    """Refuse a number of runs below 1.

    Raises:
        UserError: it is
    """
    if count is not None and count < 1:
        raise UserError(f"--{option} {count}: that is no number of runs", "take 1 or more")


class Placement(NamedTuple):
    """What the user says about it: ``--jobs``, ``--cluster`` and ``--gpus-per-trial``.

    ``jobs`` are the runs at a time; None: one per GPU, on a cluster without GPUs one per machine.
    ``cluster`` is the address of a Ray cluster; None: this machine. ``gpus_per_trial`` is 1, or
    the part of a GPU that a run has. ``train`` trains one job.
    """

    jobs: int | None = None
    cluster: str | None = None
    gpus_per_trial: float | None = None
    train: TrainJob = train_job

    def require_valid(self) -> Self:
        """Return this; refuse what can't be meant, before anything starts.

        Raises:
            UserError: a number is out of its range, or a device is named that Ray would choose
            MissingExtraError: Ray is not installed, and a cluster named
        """
        require_count("jobs", self.jobs)
        if self.gpus_per_trial is not None and not 0.01 <= self.gpus_per_trial <= 1:
            what = f"--gpus-per-trial {self.gpus_per_trial:g}: a trial trains on one GPU or a part"
            raise UserError(what, "take 1, or a part such as 0.25 (0.01 at least)")
        if self.cluster:
            require_ray()
            if ":" in (name := os.environ.get("CIFARLAB_DEVICE", "")):
                what = f"CIFARLAB_DEVICE={name}: on a cluster Ray chooses each trial's GPU"
                raise UserError(what, "take cuda or cpu, or leave it out")
        return self

    def run(self, experiment: Experiment, resume: str, log: Log, end: float = inf) -> None:
        """Train all runs of an experiment there.

        Args:
            experiment: gives the runs and learns of their ends
            resume: the command that goes on with the experiment
            log: receives what ``open_workers`` says
            end: when (``time.monotonic``) the current runs are left at their last checkpoints

        Raises:
            CifarlabError: as ``open_workers`` and ``run_experiment`` do
        """
        with self.open_workers(log) as workers:
            run_experiment(experiment, resume, workers, end)

    @contextmanager
    def open_workers(self, log: Log) -> Iterator[Workers | ThisProcess]:
        """Yield what trains the runs of an experiment: the one place where that is chosen.

        A cluster where one is named; else this process where neither ``--jobs`` nor more GPUs than
        one ask for several runs at a time; else processes, by default one for each GPU's share.

        Args:
            log: receives how many train at a time, and what that depends on

        Raises:
            UserError: no cluster answers, or there are too few GPUs
        """
        jobs, cluster, gpus_per_trial, train = self
        if cluster:
            with cluster_workers(cluster, jobs, gpus_per_trial, log, train) as workers:
                yield workers
            return
        gpus = visible_gpus()
        n_jobs = divide_gpus(len(gpus), jobs, gpus_per_trial)[0] or 1
        if jobs is None and n_jobs == 1:
            yield ThisProcess(train)
        else:
            if jobs is None:
                where = "one per GPU" if n_jobs == len(gpus) else f"on {len(gpus)} GPUs"
                log(f"{n_jobs} at a time, {where} (--jobs N for fewer; for equal seconds --jobs 1)")
            yield local_workers(n_jobs, log, train, gpus)


DEFAULT_PLACEMENT = Placement()
