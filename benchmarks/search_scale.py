"""Does the driver stay as fast and as small over 10,000 trials?

    python benchmarks/search_scale.py [--trials 10000] [--where processes ray]

Trials are simulated: a worker answers at once with the next point of a made learning curve, which
it writes into a run folder. All else is the search as it is: Optuna draws, ASHA decides, every
event is written down; two workers are processes of this machine, or actors of a Ray cluster that
this script starts. Prints and writes, for each 500 trials, the driver's memory and the time
per reported epoch, per decision and per trial, the time on the clock and the driver's own on a
processor; and at the end what its table, page and figures took.
"""

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
from _results import write_result
from _searching import LONGEST, SMALL, cluster_address, simulate

from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.engine import run_search

TRIALS_PER_ROW = 500
JOBS = 2
WHERE = ("processes", "ray")


class ProgressLog:
    """Counts trials and decisions by the lines of the record, and looks at memory now and then."""

    def __init__(self, record: Path) -> None:
        self.record = record
        self.rows: list[dict[str, float]] = []
        self.trials = self.read = self.decisions = 0
        self.since = self.last_line_time = time.perf_counter()
        self.cpu_seconds = time.process_time()

    def __call__(self, line: str) -> None:
        """A line that the search logs."""
        self.last_line_time = time.perf_counter()
        if "=" not in line or " stopped " in line:
            return
        self.trials += 1
        if self.trials % TRIALS_PER_ROW:
            return
        with self.record.open("rb") as file:
            file.seek(self.read)
            new = file.read()
        self.read += len(new)
        events = [json.loads(line) for line in new.splitlines()]
        decisions = sum(event["event"] == "rung" for event in events)
        reports = sum(event["epochs"] for event in events if event["event"] == "ended")
        now, cpu_seconds = time.perf_counter(), time.process_time()
        memory = psutil.Process().memory_full_info().uss / 2**20
        row = {
            "trials": self.trials,
            "driver_mib": memory,
            "ms_per_epoch": 1000 * (now - self.since) / max(1, reports),
            "ms_per_decision": 1000 * (now - self.since) / max(1, decisions),
            "ms_per_trial": 1000 * (now - self.since) / TRIALS_PER_ROW,
            "own_ms_per_epoch": 1000 * (cpu_seconds - self.cpu_seconds) / max(1, reports),
            "own_ms_per_trial": 1000 * (cpu_seconds - self.cpu_seconds) / TRIALS_PER_ROW,
        }
        self.since, self.cpu_seconds = now, cpu_seconds
        self.rows.append(row)
        print({name: round(value, 2) for name, value in row.items()})


def main() -> None:
    """Search, print as it goes, write the result of each."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--where", nargs="+", choices=WHERE, default=WHERE)
    options = parser.parse_args()
    for where in options.where:
        # a process of its own: in ours, the memory of one would be there for the other
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            payload = process.submit(measure, options.trials, where).result()
        print({key: value for key, value in payload.items() if key != "rows"})
        print(f"written to {write_result(f'search-scale-{where}', 'cpu', payload)}")


def measure(trials: int, where: str) -> dict[str, Any]:
    """Search once; seconds, sizes and the rows."""
    search = Search.model_validate(
        {"name": "scale", "trials": trials, "max_epochs": f"{LONGEST} epochs", **SMALL}
    )
    with cluster_address(where, JOBS) as address, tempfile.TemporaryDirectory() as directory:
        progress = ProgressLog(Path(directory) / "searches" / "scale" / "search.jsonl")
        start_time = time.perf_counter()
        runs, log = Path(directory), progress
        run_search(search, placement=Placement(JOBS, address, train=simulate), runs=runs, log=log)
        seconds = time.perf_counter() - start_time
        size = progress.record.stat().st_size / 2**20
    return {
        "trials": trials,
        "jobs": JOBS,
        "seconds": seconds,
        "record_mib": size,
        "report_seconds": start_time + seconds - progress.last_line_time,
        "rows": progress.rows,
    }


if __name__ == "__main__":
    main()
