"""How long `cifarlab runs` takes in a folder of 5,000 runs: from the command to its last line.

    python benchmarks/runs_list.py [--runs 5000] [--folder FOLDER]

Bar: the list in under a second. The runs are made up, of 1,000 recipes over 5 seeds; with --folder
they are made there and stay. ``first list`` reads every run and leaves an index, all others find
it; ``list after a run ended`` has one run to read anew. Seconds by the clock; beside them, those
that the processor worked.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from _made_runs import make_runs
from _results import summary, write_result

from cifarlab.run_folder.openings import count_openings, find_runs
from cifarlab.run_folder.removals import find_removals

REPEATS = 5
ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "list": ["list"],
    "list by a setting": ["list", "optimizer.lr > 0.5 and seed < 3"],
    "list by a result": ["list", "test.accuracy > 0.7", "--sort", "-test.accuracy"],
    "list by recipe": ["list", "--by-recipe", "--columns", "optimizer.lr"],
    "list as JSON": ["list", "--json"],
    "gc, dry run": ["gc", "--keep", "results", "--dry-run"],
}


def main() -> None:
    """Measure all items, print their medians and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5000)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        folder = options.folder or Path(directory) / "runs"
        if not folder.exists():
            make_runs(folder, options.runs)
            time.sleep(3)  # older than the grain of a file's times
        items = measure(folder)
    for item, values in items.items():
        clock, worked = (statistics.median(column) for column in zip(*values, strict=True))
        print(f"{item:24} {clock:6.2f} s, processor {worked:6.2f} s, n = {len(values)}")
    payload = {
        "runs": options.runs,
        # as with chrt -f 1: on a busy machine no other process takes the clock's seconds
        "real_time": os.sched_getscheduler(0) != os.SCHED_OTHER,
        "seconds": {item: summary([clock for clock, _ in v]) for item, v in items.items()},
        "processor_seconds": {item: summary([cpu for _, cpu in v]) for item, v in items.items()},
    }
    print(f"written to {write_result('runs-list', 'cpu', payload)}")


def measure(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """Return the seconds of each item, by the clock and of the processor."""
    items: dict[str, list[tuple[float, float]]] = {"first list": []}
    for _ in range(2):
        for file in folder.glob(".*-index"):
            file.unlink()
        items["first list"].append(run(folder, COMMANDS["list"]))
    for item, words in COMMANDS.items():
        run(folder, words)  # settings are read when they are asked for the first time
        items[item] = [run(folder, words) for _ in range(REPEATS)]
    first = next(find_runs(folder)) / "result.json"
    items["list after a run ended"] = []
    for _ in range(REPEATS):
        first.write_text(first.read_text())
        items["list after a run ended"].append(run(folder, COMMANDS["list"]))
    start, worked = time.perf_counter(), time.process_time()
    openings = count_openings(find_runs(folder), "made", removals=find_removals(folder))
    times = time.perf_counter() - start, time.process_time() - worked
    items[f"count of {openings.total():,} openings"] = [times]
    return items


def run(folder: Path, words: Sequence[str]) -> tuple[float, float]:
    """Return the seconds of a command, by the clock and of the processor."""
    command = [sys.executable, "-m", "cifarlab", "runs", *words, "--folder", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT, env=environment)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    worked = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, worked


if __name__ == "__main__":
    main()
