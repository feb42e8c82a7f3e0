"""One search on each back end: are the tables equal?

    CIFARLAB_DATA=DATA python benchmarks/search_backends.py [--search asha2021/classic]
        [--trials 30] [--scale 0.2]

In processes of this machine and on a Ray cluster that this script starts, one trial at a time, so
that seeds decide everything. asha2021's searches take days on a CPU: ``--scale`` is the fraction of
the training images and of the epochs. Bar: the tables are equal.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from _results import write_result
from _searching import cluster_address, start_command


def main() -> None:
    """Search on both, print what is equal, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--search", default="asha2021/classic")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--scale", type=float, default=0.2)
    options = parser.parse_args()
    backends = {where: run(where, options) for where in ("processes", "ray")}
    tables = {where: backend.pop("table") for where, backend in backends.items()}
    equal = json.dumps(tables["processes"]) == json.dumps(tables["ray"])
    best = tables["processes"][0]
    payload = {**vars(options), "backends": backends, "best": best, "tables_are_equal": equal}
    print(payload)
    what = f"search-backends-{options.search}".replace("/", "-")
    print(f"written to {write_result(what, 'cpu', payload)}")
    sys.exit(0 if equal else 1)


def run(where: str, options: argparse.Namespace) -> dict[str, Any]:
    """Search there; the seconds of the command, the table, and what ASHA did."""
    words = ["--trials", str(options.trials), "--scale", str(options.scale), "--jobs", "1"]
    with cluster_address(where, 1) as address, tempfile.TemporaryDirectory() as name:
        words += ["--cluster", address] if address else []
        began = time.perf_counter()
        process = start_command(Path(name), "search", options.search, *words)
        if code := process.wait():
            sys.exit(f"the search ended with exit code {code}")
        seconds = time.perf_counter() - began
        (content,) = (Path(name) / "runs" / "searches").rglob("search.json")
        table = json.loads(content.read_text(encoding="utf-8"))["results"]["table"]
    stopped = sum(row["stop_reason"] == "stopped" for row in table)
    epochs = sum(row["epochs"] for row in table)
    return {"seconds": seconds, "stopped": stopped, "epochs": epochs, "table": table}


if __name__ == "__main__":
    main()
