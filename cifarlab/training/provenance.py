"""What is known of a run before its first step, into its ``provenance.json``."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path
from platform import python_version
from typing import Any

import cifarlab
from cifarlab.system.device import library_versions
from cifarlab.training.run import Run


def record_start(run: Run, mean: list[float], std: list[float]) -> None:
    """Write what is known before the first step into provenance.json."""
    provenance = run.folder.provenance()
    made_with = {
        "cifarlab": cifarlab.__version__,
        "commit": _commit(),
        "python": python_version(),
        "libraries": library_versions(),
        "device": run.compute.describe(),
        "processes": run.processes.world_size,
    }
    earlier = provenance.get("starts", [])
    now = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": run.command,
        "step": run.state.step,
        # the module of a plug-in is called after its hash
        "callbacks": [f"{type(c).__module__}.{type(c).__qualname__}" for c in run.callbacks],
    }
    changed = sorted({k for start in earlier for k, v in made_with.items() if start.get(k) != v})
    if changed:
        run.notes.append(
            f"not all starts of this run had the same {', '.join(changed)}: "
            "its last bits may differ from an uninterrupted run's"
        )
    first = {"precision": run.compute.precision, "data": _describe_data(run, mean, std)}
    starts = [*earlier, now | made_with]
    run.folder.write_provenance(
        {**made_with, **first, "test_openings": [], **provenance, "starts": starts}
    )


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


def _commit() -> str | None:
    """The code's git commit, with ``+`` where files differ from it; None outside a checkout."""
    root = Path(cifarlab.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
