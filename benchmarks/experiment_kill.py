"""Does a search or study that is killed again and again end as one that is not?

    python benchmarks/experiment_kill.py [--kinds search study] [--driver 10] [--nodes 3]

On the embedded digits: a search with ASHA, one trial at a time, so that seeds decide everything; a
study of four rows and three seeds. Each once undisturbed; once while its driver is killed (SIGKILL)
at random moments, and resumed with the command line; once on Ray's own test cluster of several
machines on this one, while the machine that trains is taken away at random moments and another one
comes. Bar: the tables are equal.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from _results import write_result
from _searching import SMALL, start_command, wait_for, write_search

LR = "optimizer.lr"


def main() -> None:
    """Run each kind three times, print what is equal, write the results."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--kinds", nargs="+", choices=("search", "study"), default=["search", "study"]
    )
    parser.add_argument("--driver", type=int, default=10)
    parser.add_argument("--nodes", type=int, default=3)
    options = parser.parse_args()
    payloads = {kind: measure(kind, options.driver, options.nodes) for kind in options.kinds}
    for kind, payload in payloads.items():
        print(f"written to {write_result(f'{kind}-kill', 'cpu', payload)}")
    is_equal = [payload["table_is_that_of_the_undisturbed"] for payload in payloads.values()]
    sys.exit(0 if all(value for equal in is_equal for value in equal.values()) else 1)


def measure(kind: str, n_driver: int, n_nodes: int) -> dict[str, Any]:
    """Return when the driver and the nodes of a kind were killed, and which tables are equal."""
    with tempfile.TemporaryDirectory() as name:
        reference, driver, node = (
            Killed(kind, Path(name), n) for n in ("reference", "driver", "node")
        )
        reference.end()
        total = reference.epochs()
        print(f"{kind}, undisturbed: {total} epochs")
        kills, losses = driver.kill_driver(n_driver, total), node.kill_node(n_nodes, total)
        tables = {other.name: other.table() for other in (driver, node)}
        equal = {other: table == reference.table() for other, table in tables.items()}
    print(kind, equal)
    return {
        "epochs": total,
        "driver_killed_at_epoch": kills,
        "node_killed_at_epoch": losses,
        "table_is_that_of_the_undisturbed": equal,
    }


def write_study(directory: Path, name: str) -> Path:
    """A study's file: four learning rates, of which the last diverges, with three seeds each."""
    rows = [
        {"name": f"lr-{lr:g}", "recipe": "quickstart", "overrides": {LR: lr}}
        for lr in (0.1, 0.01, 0.5, 1e30)
    ]
    overrides = {**SMALL["overrides"], "training.duration": "12 epochs"}
    file = directory / f"{name}.yaml"
    tree = {"n_seeds": 3, "rows": rows, "overrides": overrides}
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return file


class Killed:
    """A search or study in a folder, as a user starts it there with the command line."""

    def __init__(self, kind: str, directory: Path, name: str) -> None:
        self.kind, self.name = kind, name
        directory /= name  # a study would take finished runs of the same folder
        directory.mkdir()
        if kind == "search":
            self.file = write_search(directory, name, trials=12, max_epochs="27 epochs")
        else:
            self.file = write_study(directory, name)
        plural = {"search": "searches", "study": "studies"}[kind]
        self.path = directory / "runs" / plural / name

    def epochs(self) -> int:
        """Epochs that all runs have trained so far."""
        return sum(file.read_bytes().count(b"\n") for file in self.path.glob("*/metrics.jsonl"))

    def table(self) -> str:
        """Everything of its table."""
        content = json.loads((self.path / f"{self.kind}.json").read_text(encoding="utf-8"))
        rows = (
            content["results"]["table"] if self.kind == "search" else content["comparison"]["rows"]
        )
        return json.dumps(rows)

    def start(self, *words: str) -> Any:
        """Begin it with one run at a time, in a process beside the driver's."""
        return start_command(self.file.parent, self.kind, self.file.name, "--jobs", "1", *words)

    def end(self, *words: str) -> None:
        """Run it to its end; a study in which runs diverge exits with 5."""
        self.require_end(self.start(*words))

    def require_end(self, process: Any) -> None:
        """Wait for the end; end this program where it failed."""
        if process.wait() not in (0, 5):
            sys.exit(f"the {self.kind} failed")

    def wait_for_epochs(self, moment: int, process: Any) -> None:
        """Wait for so many epochs and up to 0.3 s longer."""
        wait_for(lambda: self.epochs() >= moment, process)
        time.sleep(random.Random(moment).uniform(0, 0.3))

    def kill_driver(self, n: int, total: int) -> list[int]:
        """Kill the driver at each moment, then let it end; the epochs trained by then."""
        kill_epochs: list[int] = []
        for moment in draw_moments(n, total, 0):
            process = self.start(*(["--resume"] if kill_epochs else []))
            # or it would be killed before it does anything
            self.wait_for_epochs(max(moment, self.epochs() + 1), process)
            process.kill()
            process.wait()
            kill_epochs.append(self.epochs())
            print(f"driver killed after {kill_epochs[-1]} epochs")
        self.end("--resume")
        return kill_epochs

    def kill_node(self, n: int, total: int) -> list[int]:
        """Take the machine that trains away at each moment; another one replaces it."""
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        nodes = [cluster.add_node(num_cpus=1)]
        kill_epochs: list[int] = []
        try:
            process = self.start("--cluster", cluster.address)
            for moment in draw_moments(n, total, 1):
                self.wait_for_epochs(self.epochs() + 1, process)  # it trains on the last node,
                nodes.append(cluster.add_node(num_cpus=1))  # and its successor takes seconds
                self.wait_for_epochs(max(moment, self.epochs()), process)
                kill_epochs.append(self.epochs())
                cluster.remove_node(nodes[-2], allow_graceful=False)
                if kill_epochs[-1] >= total:
                    sys.exit("all epochs were trained before the node was killed: train more")
                print(f"node killed after {kill_epochs[-1]} epochs of {total}")
            self.require_end(process)
        finally:
            cluster.shutdown()
        return kill_epochs


def draw_moments(n: int, total: int, seed: int) -> list[int]:
    """So many random numbers of epochs, ascending, all well before the end."""
    return sorted(random.Random(seed).sample(range(2, max(3 + n, total - 3)), n))


if __name__ == "__main__":
    main()
