"""Does ASHA find better settings than plain random search?

    python benchmarks/search.py [--repeats 5] [--trials 27]

On the embedded digits. Each repeat searches once with ASHA and once plainly at random, each with
another seed, the latter with as many whole trials as the same number of epochs pays for. What a
search costs beside its training: ``overhead.py``.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from _results import write_result
from _searching import run, table, training_seconds, write_search

from cifarlab.run_folder.schemas import as_json
from cifarlab.stats.paired import compare_pairs, summarize

LONGEST = 27
JOBS = 2


def main() -> None:
    """Measure all, print it, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=27)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        repeats = [
            compare_schedulers(Path(name), seed, options.trials) for seed in range(options.repeats)
        ]
    ratios = [repeat["asha"]["best"] / repeat["random"]["best"] for repeat in repeats]
    bests = {kind: [repeat[kind]["best"] for repeat in repeats] for kind in ("asha", "random")}
    payload = {
        "trials": options.trials,
        "repeats": repeats,
        "ratio_of_best": as_json(summarize(ratios)),
        "difference_of_best": as_json(compare_pairs(bests["asha"], bests["random"])),
    }
    print(f"best of ASHA over best of random, equal epochs: {payload['ratio_of_best']}")
    print(f"written to {write_result('search', 'cpu', payload)}")


def compare_schedulers(directory: Path, seed: int, trials: int) -> dict[str, Any]:
    """ASHA, then plain random search for as many epochs, with another seed."""
    length = f"{LONGEST} epochs"
    asha = write_search(directory, f"asha-{seed}", seed=seed, trials=trials, max_epochs=length)
    result: dict[str, Any] = {"seed": seed, "asha": run_search(asha)}
    n_trials = max(1, round(result["asha"]["epochs"] / LONGEST))
    # another seed: the first trials of the same one would be the same points
    plain = {"seed": 1000 + seed, "trials": n_trials, "scheduler": {"kind": "none"}}
    result["random"] = run_search(
        write_search(directory, f"random-{seed}", max_epochs=length, **plain)
    )
    print(result)
    return result


def run_search(file: Path) -> dict[str, Any]:
    """Search, and say what came of it."""
    seconds = run(file, "--jobs", str(JOBS))
    rows = table(file)
    return {
        "best": rows[0]["score"],
        "trials": len(rows),
        "epochs": sum(row["epochs"] for row in rows),
        "seconds": seconds,
        "training_seconds": training_seconds(file),
    }


if __name__ == "__main__":
    main()
