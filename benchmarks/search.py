"""Does ASHA find better settings, and what does the framework cost?

    python benchmarks/search.py [--repeats 5] [--trials 27] [--seconds 30] [--full-trials 8]
        [--networks narrow wide]

On the embedded digits. Each repeat searches once with ASHA and once plainly at random, each with
another seed, the latter with as many whole trials as the same number of epochs pays for. Then
searches whose trials take 30 s each, two at a time: which part of the command's time was not spent
in training, and after how many seconds the first trial trained. Once the 30 s are many epochs of
a tenth of a second, each with its checkpoint and its answer, once the epochs of a network
four times as wide. Bars: overhead under 10 %, first trial within 12 s. With ``--repeats 0`` only
the latter, with ``--full-trials`` trials each.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from _results import write_result
from _searching import SMALL, folder, run, start, table, training_seconds, wait_for, write_search

from cifarlab.run_folder.schemas import as_json
from cifarlab.stats.paired import compare_pairs, summarize

LONGEST = 27
JOBS = 2
NETWORKS = {"narrow": {}, "wide": {"model.stem_width": 64, "model.channels": [64, 128, 256]}}


SPACE = {"optimizer.lr": {"kind": "loguniform", "low": 1e-3, "high": 0.1}}  # all as long


def main() -> None:
    """Measure all, print it, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--trials", type=int, default=27)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--full-trials", type=int, default=8)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        repeats = [
            compare_schedulers(directory, seed, options.trials) for seed in range(options.repeats)
        ]
        cost = {
            name: measure_overhead(directory, name, options.seconds, options.full_trials)
            for name in options.networks
        }
    payload: dict[str, Any] = {"overhead": cost}
    if repeats:
        ratios = [repeat["asha"]["best"] / repeat["random"]["best"] for repeat in repeats]
        bests = {kind: [repeat[kind]["best"] for repeat in repeats] for kind in ("asha", "random")}
        payload |= {
            "trials": options.trials,
            "repeats": repeats,
            "ratio_of_best": as_json(summarize(ratios)),
            "difference_of_best": as_json(compare_pairs(bests["asha"], bests["random"])),
        }
        print(f"best of ASHA over best of random, equal epochs: {payload['ratio_of_best']}")
    print(f"overhead: {cost}")
    what = "search" if repeats else f"search-overhead-{options.full_trials}"
    print(f"written to {write_result(what, 'cpu', payload)}")


def compare_schedulers(directory: Path, seed: int, trials: int) -> dict[str, Any]:
    """ASHA, then plain random search for as many epochs, with another seed."""
    length = f"{LONGEST} epochs"
    asha = write_search(directory, f"asha-{seed}", seed=seed, trials=trials, max_epochs=length)
    result = {"seed": seed, "asha": run_search(asha)}
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


def measure_overhead(
    directory: Path, network: str, seconds: float, n_trials: int
) -> dict[str, Any]:
    """What whole trials of about so many seconds cost beside their training."""
    overrides = {**SMALL["overrides"], **NETWORKS[network]}
    plain = {"scheduler": {"kind": "none"}, "overrides": overrides, "space": SPACE}
    probe = write_search(directory, f"probe-{network}", trials=JOBS, max_epochs="5 epochs", **plain)
    run(probe, "--jobs", str(JOBS))
    length = max(1, round(seconds / (training_seconds(probe) / (5 * JOBS))))
    file = write_search(directory, network, trials=n_trials, max_epochs=f"{length} epochs", **plain)
    start_time = time.perf_counter()
    process = start(file, "--jobs", str(JOBS))
    first = wait_for(lambda: any(folder(file).path.glob("trial-*/provenance.json")), process)
    process.wait()
    wall = time.perf_counter() - start_time
    trained = training_seconds(file)
    return {
        "trials": n_trials,
        "jobs": JOBS,
        "epochs_per_trial": length,
        "seconds": wall,
        "seconds_per_trial": trained / n_trials,
        "first_trial_after_seconds": first,
        "overhead_fraction": 1 - trained / (JOBS * wall),
    }


if __name__ == "__main__":
    main()
