"""Does the driver stay as fast and as small over 10,000 trials?

    python benchmarks/search_scale.py [--trials 10000]

Trials are simulated: a worker answers at once with the next point of a made learning curve, which
it writes into a run folder. All else is the search as it is: Optuna draws, ASHA decides, every
event is written down. Prints and writes, for each 500 trials, the driver's memory and
the time per epoch told, per decision and per trial; and at the end what its table, page and
figures took.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import psutil
from _results import write_result
from _searching import LONGEST, SMALL, simulate

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.engine import run_search

EVERY = 500
JOBS = 2


class Watch:
    """Counts trials and decisions by the lines of the record, and looks at memory now and then."""

    def __init__(self, record: Path) -> None:
        self.record = record
        self.rows: list[dict[str, float]] = []
        self.trials = self.read = self.decisions = 0
        self.since = self.heard = time.perf_counter()

    def __call__(self, line: str) -> None:
        """A line that the search logs."""
        self.heard = time.perf_counter()
        if "=" not in line or " stopped " in line:
            return
        self.trials += 1
        if self.trials % EVERY:
            return
        with self.record.open("rb") as file:
            file.seek(self.read)
            new = file.read()
        self.read += len(new)
        events = [json.loads(line) for line in new.splitlines()]
        decisions = sum(event["event"] == "rung" for event in events)
        reports = sum(event["epochs"] for event in events if event["event"] == "ended")
        now = time.perf_counter()
        memory = psutil.Process().memory_full_info().uss / 2**20
        row = {
            "trials": self.trials,
            "driver_mib": memory,
            "ms_per_epoch": 1000 * (now - self.since) / max(1, reports),
            "ms_per_decision": 1000 * (now - self.since) / max(1, decisions),
            "ms_per_trial": 1000 * (now - self.since) / EVERY,
        }
        self.since = now
        self.rows.append(row)
        print({name: round(value, 2) for name, value in row.items()})


def main() -> None:
    """Search, print as it goes, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=10_000)
    asked = parser.parse_args()
    search = Search.model_validate(
        {"name": "scale", "trials": asked.trials, "max_epochs": f"{LONGEST} epochs", **SMALL}
    )
    with tempfile.TemporaryDirectory() as place:
        watch = Watch(Path(place) / "searches" / "scale" / "search.jsonl")
        begun = time.perf_counter()
        run_search(search, jobs=JOBS, runs=Path(place), log=watch, train=simulate)
        seconds = time.perf_counter() - begun
        size = watch.record.stat().st_size / 2**20
        shown = begun + seconds - watch.heard
    payload = {
        "trials": asked.trials,
        "jobs": JOBS,
        "seconds": seconds,
        "record_mib": size,
        "explained_seconds": shown,
        "rows": watch.rows,
    }
    print(f"{seconds:.0f} s, of them {shown:.1f} s to explain it all; a record of {size:.1f} MiB")
    print(f"written to {write_result('search-scale', 'cpu', payload)}")


if __name__ == "__main__":
    main()
