"""Does a search that is killed again and again end as one that is not?

    python benchmarks/search_kill.py [--driver 5] [--nodes 3]

One search on the embedded digits with ASHA, one trial at a time, so that seeds decide everything:
once undisturbed; once while its driver is killed (SIGKILL) at random moments, and resumed with the
command line; once on Ray's own test cluster of several machines on this one, while the machine
that trains is taken away at random moments and another one comes. Bar: the tables are equal.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

from _results import write_result
from _searching import epochs, run, start, table, wait_for, write_search

TRIALS = 12
LENGTH = {"trials": TRIALS, "max_epochs": "27 epochs"}


def main() -> None:
    """Search three times, print what is equal, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        reference = write_search(directory, "reference", **LENGTH)
        run(reference)
        total = epochs(reference)
        print(f"undisturbed: {total} epochs")
        driver, kills = kill_driver(directory, options.driver, total)
        nodes, losses = kill_node(directory, options.nodes, total)
        expected = json.dumps(table(reference))
        equal = {
            "driver": json.dumps(table(driver)) == expected,
            "node": json.dumps(table(nodes)) == expected,
        }
    print(equal)
    payload = {
        "trials": TRIALS,
        "epochs": total,
        "driver_killed_at_epoch": kills,
        "node_killed_at_epoch": losses,
        "table_is_that_of_the_undisturbed_search": equal,
    }
    print(f"written to {write_result('search-kill', 'cpu', payload)}")
    sys.exit(0 if all(equal.values()) else 1)


def draw_moments(kills: int, total: int, seed: int) -> list[int]:
    """So many random numbers of epochs, ascending, all well before the end."""
    return sorted(random.Random(seed).sample(range(2, max(3 + kills, total - 3)), kills))


def kill_driver(directory: Path, kills: int, total: int) -> tuple[Path, list[int]]:
    """Kill the driver at each moment, then let the search end."""
    file = write_search(directory, "driver", **LENGTH)
    kill_epochs: list[int] = []
    for moment in draw_moments(kills, total, 0):
        process = start(file, *(["--resume"] if kill_epochs else []))
        moment = max(moment, epochs(file) + 1)  # or it would be killed before it does anything
        wait_for(lambda moment=moment: epochs(file) >= moment, process)
        time.sleep(random.Random(moment).uniform(0, 0.3))
        process.kill()
        process.wait()
        kill_epochs.append(epochs(file))
        print(f"driver killed after {kill_epochs[-1]} epochs")
    run(file, "--resume")
    return file, kill_epochs


def kill_node(directory: Path, kills: int, total: int) -> tuple[Path, list[int]]:
    """Take the machine that trains away at each moment; another one replaces it."""
    from ray.cluster_utils import Cluster

    file = write_search(directory, "node", **LENGTH)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=1)]
    kill_epochs: list[int] = []
    try:
        process = start(file, "--cluster", cluster.address, "--jobs", "1")
        for moment in draw_moments(kills, total, 1):
            wait_for(lambda moment=moment: epochs(file) >= moment, process)
            time.sleep(random.Random(moment).uniform(0, 0.3))
            nodes.append(cluster.add_node(num_cpus=1))
            cluster.remove_node(nodes[-2], allow_graceful=False)
            kill_epochs.append(epochs(file))
            print(f"node killed after {kill_epochs[-1]} epochs")
        if process.wait():
            sys.exit("the search on the cluster failed")
    finally:
        cluster.shutdown()
    return file, kill_epochs


if __name__ == "__main__":
    main()
