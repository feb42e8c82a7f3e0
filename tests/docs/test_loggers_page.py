"""The page about loggers: what they cost is what was measured."""

import json
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_its_figures_are_the_measured_ones() -> None:
    page = (ROOT / "docs" / "loggers.md").read_text(encoding="utf-8")
    [file] = (ROOT / "benchmarks" / "results").glob("loggers_cpu_*.json")
    loggers = json.loads(file.read_text(encoding="utf-8"))["seconds"]
    assert {"tensorboard", "mlflow", "wandb", "trackio"} <= set(loggers)
    for name, points in loggers.items():
        seconds = {point: value["processor"] for point, value in points.items()}
        cells = f"{seconds['first_start']:.1f} s | {1000 * seconds['start']:.0f} ms"
        cells += f" | {1000 * seconds['epoch']:.1f} ms | {1000 * seconds['end']:.0f} ms"
        assert f"| {name} | {cells} |" in page
    clock = {point: value["clock"] for point, value in loggers["mlflow server"].items()}
    start, epoch = f"{clock['start']:.2f} s at a start", f"{1000 * clock['epoch']:.0f} ms for each"
    assert f"the server takes {start} and {epoch} epoch" in page
    figures = statistics.median(points["figures"]["processor"] for points in loggers.values())
    assert f"drawn once for all loggers ({figures:.1f} s more)" in page
