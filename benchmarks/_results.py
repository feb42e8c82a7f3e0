"""Results of measurements as small JSON files that can be committed and compared."""

import datetime
import importlib.metadata
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(os.environ.get("BENCHMARK_RESULTS") or Path(__file__).parent / "results")
_LIBRARIES = ("numpy", "pillow", "torch", "scikit-learn", "pydantic", "cifarlab")
_LIBRARIES += ("onnx", "onnxscript", "onnxruntime")


def write_result(what: str, device: str, payload: dict[str, Any]) -> Path:
    """Write ``results/<what>_<device>_<date>.json``: the payload, hardware, versions, command."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    name = "_".join(re.sub(r"[^A-Za-z0-9.]+", "-", part) for part in (what, device))
    path = RESULTS / f"{name}_{today}.json"
    content = {
        "what": what,
        "device": device,
        "date": today,
        "command": " ".join(["python", *sys.argv]),
        "hardware": hardware(),
        "versions": versions(),
        **payload,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def summary(values: Sequence[float]) -> dict[str, object]:
    """n, median and all values, in seconds."""
    return {
        "n": len(values),
        "median": round(statistics.median(values), 4),
        "all": [round(value, 4) for value in values],
    }


def in_turns(ways: Mapping[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Speeds of each way, which take turns; one more round, before, warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 1):
        for name, way in ways.items():
            speed = way()
            if repeat:
                speeds[name].append(speed)
    return speeds


def paired_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """Median of the ratios repeat by repeat.

    Two sides that take turns see the same phase of a noisy machine; the ratio of their medians
    may compare one phase with another.
    """
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def hardware() -> dict[str, Any]:
    """The processor, by name and generation, and how many cores this process may use."""
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that are installed."""
    numbers = {"python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            numbers[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            continue
    return numbers


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor()
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.+)$", text, re.MULTILINE))
    if "model name" not in fields:
        return platform.processor()
    kind = ", ".join(f"{word} {fields[word]}" for word in ("cpu family", "model") if word in fields)
    return f"{fields['model name']} ({kind})" if kind else fields["model name"]
