"""The worker: Ray Tune's actor, which trains one trial after another and imports torch once."""

import os
from pathlib import Path
from typing import Any

from ray.tune import Trainable
from ray.tune.result import DONE

from cifarlab.experiments.search.messages import FATAL, JOB, STOP_REASON
from cifarlab.experiments.search.trial_session import TrialSession, parse_job


class Worker(Trainable):
    """A step is an epoch; the trial session writes the checkpoints, Ray none."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take a first trial."""
        job = parse_job(config[JOB])
        if Path(job.working_dir).is_dir():  # a machine of a cluster may have no such folder
            os.chdir(job.working_dir)
        from cifarlab.system.threads import limit_threads

        limit_threads(job.threads)
        self._session = TrialSession(job)

    def step(self) -> dict[str, Any]:
        """Train the next epoch."""
        message = self._session.next()
        return {**message, DONE: STOP_REASON in message or FATAL in message}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial."""
        self._session.end()
        self._session = TrialSession(parse_job(new_config[JOB]))
        return True

    def cleanup(self) -> None:
        """The search needs this worker no longer."""
        self._session.end()
