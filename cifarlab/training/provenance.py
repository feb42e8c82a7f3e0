"""``provenance.json``: what a run was made with, known before its first step."""

import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from platform import python_version
from typing import Any

import cifarlab
from cifarlab.system.device import library_versions
from cifarlab.training.run import Run


def record_start(run: Run, mean: list[float], std: list[float]) -> None:
    """Write into provenance.json what is known before the first step.

    Args:
        run: the run, ready to train
        mean: per channel, in units of 0..1
        std: standard deviation per channel, in units of 0..1
    """
    provenance = run.folder.provenance()
    environment = {
        "cifarlab": cifarlab.__version__,
        "commit": code_commit(),
        "python": python_version(),
        "libraries": library_versions(),
        "device": run.compute.describe(),
        "processes": run.processes.world_size,
    }
    starts = provenance.get("starts", [])
    start = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": run.command,
        "step": run.state.step,
        # the module of a plug-in is called after its hash
        "callbacks": [f"{type(c).__module__}.{type(c).__qualname__}" for c in run.callbacks],
    }
    differences = {k for s in starts for k, v in environment.items() if s.get(k) != v}
    if differences:
        run.notes.append(
            f"not all starts of this run had the same {', '.join(sorted(differences))}: "
            "its last bits may differ from an uninterrupted run's"
        )
    first = {"precision": run.compute.precision, "data": _describe_data(run, mean, std)}
    provenance = {**environment, **first, "test_openings": [], **provenance}
    run.folder.write_provenance({**provenance, "starts": [*starts, start | environment]})


def _describe_data(run: Run, mean: list[float], std: list[float]) -> dict[str, Any]:
    dataset, indices = run.dataset, run.loader.indices
    true = dataset.read("train").labels[indices]
    names = ("name", "source", "fingerprint", "classes", "image_shape", "skipped")
    return {
        **{name: getattr(dataset, name) for name in names},
        "train": len(indices),
        "wrong_labels": int((run.loader.labels[indices].numpy() != true).sum()),
        "val": len(run.validation) if run.validation else 0,
        "mean": mean,
        "std": std,
    }


@cache  # a process runs the code that it imported, whatever becomes of the files
def code_commit() -> str | None:
    """Return the code's git commit, with ``+`` where files differ from it; None without one."""
    root = Path(cifarlab.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
