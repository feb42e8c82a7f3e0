"""The worker: Ray Tune's actor, which trains one trial after another and imports torch once."""

import os
from pathlib import Path
from typing import Any

from ray.tune import Trainable
from ray.tune.result import DONE

from cifarlab.experiments.search.messages import FATAL, JOB, STOP_REASON
from cifarlab.experiments.search.trial_session import Course, as_job


class Worker(Trainable):
    """A step is an epoch; the course writes the checkpoints, Ray none."""

    def setup(self, config: dict[str, Any]) -> None:
        """Take a first trial."""
        job = as_job(config[JOB])
        if Path(job.place).is_dir():  # a machine of a cluster may have no such folder
            os.chdir(job.place)
        from cifarlab.system.threads import share_threads

        share_threads(job.threads)
        self._course = Course(job)

    def step(self) -> dict[str, Any]:
        """Train the next epoch."""
        message = self._course.next()
        return {**message, DONE: STOP_REASON in message or FATAL in message}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another trial."""
        self._course.end()
        self._course = Course(as_job(new_config[JOB]))
        return True

    def cleanup(self) -> None:
        """The search needs this worker no longer."""
        self._course.end()
