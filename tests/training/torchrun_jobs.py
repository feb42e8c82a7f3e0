"""Training in several processes: what tests start under torchrun, and how they start it.

    torchrun --nproc-per-node 2 tests/training/torchrun_jobs.py JOBS

JOBS is a JSON file: for each job its recipe, its folder and whether it goes on there. Each process
writes beside it, as ``JOBS.<rank>``, the result or the error of each job, and the main process the
loss of each step.
All but the first are given a folder that must stay empty.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cifarlab.recipes.text import build
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.system.errors import CifarlabError
from cifarlab.system.processes import Processes, init_distributed
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train

Report = dict[str, Any]


class Losses(Callback):
    """A callback that notes the mean loss of each step, as the metrics log sums it."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._before = (0.0, 0)

    def on_train_start(self, run: Run) -> None:
        self._before = (float(run.state.totals.loss), run.state.totals.n_images)

    def on_step_end(self, run: Run, images: int) -> None:
        (loss, count), totals = self._before, run.state.totals
        self._before = (float(totals.loss), totals.n_images)
        self.losses.append((self._before[0] - loss) / (totals.n_images - count))

    def on_epoch_end(self, run: Run, line: Report) -> None:
        self._before = (0.0, 0)


def train_job(job: Report, processes: Processes, other_folder: Path) -> Report:
    """Train one job in one process of several."""
    callback, outcome = Losses(), {}
    try:
        result = train(
            build(job["recipe"]),
            RunFolder(job["folder"] if processes.is_main_process else other_folder),
            resume=job.get("resume", False),
            callbacks=[callback],
            processes=processes,
        )
        outcome["result"] = without_cost(result)
    except CifarlabError as error:
        outcome["error"] = [type(error).__name__, error.what]
    return {"losses": callback.losses, **outcome}


def torchrun(*words: object) -> subprocess.Popen[str]:
    """Start two processes that talk over the loopback; words as behind ``torchrun``."""
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    options = ["--local-addr", "127.0.0.1", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*start, *options, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "GLOO_SOCKET_IFNAME": "lo"},
    )


def main() -> None:
    jobs = Path(sys.argv[1])
    with init_distributed() as processes:
        path = jobs.with_name(f"{jobs.name}.{processes.rank}")
        outcomes = {
            name: train_job(job, processes, jobs.with_name("not the first"))
            for name, job in json.loads(jobs.read_text(encoding="utf-8")).items()
        }
        path.write_text(json.dumps(outcomes), encoding="utf-8")


if __name__ == "__main__":
    main()
