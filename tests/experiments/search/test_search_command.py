"""The command as a user types it: what it prints, and on which addresses it listens."""

import os
import subprocess
import sys
from pathlib import Path

import psutil

from cifarlab.recipes.catalog import find


def listening_addresses(pid: int) -> set[str]:
    """Addresses on which a process and its children wait for connections."""
    addresses: set[str] = set()
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            connections = process.net_connections("inet")
        except psutil.Error:
            continue
        addresses |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}
    return addresses


def test_it_prints_its_progress_and_listens_nowhere(tmp_path: Path) -> None:
    words = [
        "search",
        "quickstart",
        "--trials",
        "3",
        "--max-epochs",
        "2 epochs",
        "--sampler",
        "tpe",
        "--jobs",
        "1",
    ]
    addresses: set[str] = set()
    workers: list[psutil.Process] = []
    with subprocess.Popen(
        [sys.executable, "-m", "cifarlab", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(tmp_path / "home")},
    ) as process:
        assert process.stdout and process.stderr
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.startswith("trial-002"):
                addresses |= listening_addresses(process.pid)
                workers += psutil.Process(process.pid).children()
        errors = process.stderr.read()
    assert process.returncode == 0, errors
    assert errors == ""
    assert lines[0].startswith("10 classes: 0, 1, ") and "; 1,294 train + " in lines[0]
    assert lines[1].startswith("quickstart: 3 trials to train; runs/searches/quickstart")
    folder = "runs/searches/quickstart"
    assert lines[-2:] == [f"search: {folder}", f"next: cifarlab train {folder}/best.yaml"]
    assert find(str(tmp_path / folder / "best.yaml")).name.startswith("quickstart/trial-")
    starts = (
        "trial-",
        "quickstart",
        "3 trials of up to",
        "Score:",
        "rank",
        "rung",
        "key",
        "search:",
    )
    starts += ("next: ",)
    assert all(line.strip()[:1].isdigit() or line.startswith(starts) for line in lines), lines
    assert workers and not addresses
