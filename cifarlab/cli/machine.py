"""What ``cifarlab check`` finds: machine, arithmetic, libraries and data, and how fast it is."""

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from platform import platform, python_version

import torch

from cifarlab.data.cache import cache_root
from cifarlab.data.paths import data_folder, list_sources
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder import RUNS
from cifarlab.system import formatting
from cifarlab.system.device import choose_compute, device_names, has_bfloat16, library_versions
from cifarlab.system.device_memory import free_memory
from cifarlab.system.formatting import NOTHING
from cifarlab.system.machine_speed import PRECISIONS, measure_disk, measure_operations
from cifarlab.system.terminal import console, format_duration, print_table
from cifarlab.system.threads import use_threads
from cifarlab.training.forecast import forecast

_EXTRAS = {
    "search": ("optuna",),
    "cluster": ("ray",),
    "notebook": ("pandas",),
    "explain": ("captum",),
    "audit": ("cleanlab",),
    "dashboard": ("nicegui",),
    "export": ("onnx", "onnxscript", "onnxruntime"),
    "serve": ("onnxruntime", "fastapi", "uvicorn", "python_multipart", "prometheus_client"),
    "mlflow": ("mlflow",),
    "tensorboard": ("tensorboard",),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
_NETWORKS = ("resnet18", "speed/94")  # whose speed --benchmark measures
_FORECAST_TIME = 4.0  # seconds for which each recipe's steps are tried


def findings() -> list[tuple[str, str]]:
    """Return rows of (what, finding): the machine first, the folders last."""
    compute = choose_compute()
    facts = compute.describe()
    native = "native" if has_bfloat16(compute.device) else "not native"
    return [
        ("system", f"{platform()}, Python {python_version()}"),
        ("device", f"{facts['type']}: {facts['name']}, {facts['threads']} threads"),
        ("CIFARLAB_DEVICE", f"takes {', '.join(device_names())}"),
        ("precision", f"{compute.precision} (bfloat16 is {native} here); training.precision=..."),
        ("memory", _memory(compute.device)),
        *library_versions().items(),
        *((f"extra {name}", _extra_state(name, modules)) for name, modules in _EXTRAS.items()),
        ("CIFARLAB_DATA", _data_folder()),
        ("cache", _disk_space(cache_root())),
        ("runs", _disk_space(RUNS.resolve())),
    ]


def _memory(device: torch.device) -> str:
    free_bytes, total = free_memory(device)
    of_gpu = "" if device.type == "cpu" else " on the GPU"
    return f"{free_bytes / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB{of_gpu}"


def _extra_state(name: str, modules: tuple[str, ...]) -> str:
    if all(importlib.util.find_spec(module) for module in modules):
        return "installed"
    return f"missing: pip install 'cifarlab[{name}]'"


def _data_folder() -> str:
    setting = os.environ.get("CIFARLAB_DATA")
    if not setting:
        return "not set: archives are looked up where you say, then downloaded"
    folder = data_folder()
    if folder is None:
        return f"{setting} is no folder"
    return f"{folder}: {', '.join(sorted(list_sources(folder))) or 'nothing to train on'}"


def _disk_space(folder: Path) -> str:
    parent = _nearest_folder(folder)
    gibibytes = shutil.disk_usage(parent).free / 2**30
    note = "" if os.access(parent, os.W_OK) else ", not writable"
    return f"{folder} ({gibibytes:.0f} GiB free{note})"


def _nearest_folder(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that is there."""
    return next(p for p in (folder, *folder.parents) if p.exists())


def print_speed() -> None:
    """Print what operations and the disk give, as measured now."""
    compute = choose_compute()
    if compute.device.type == "cpu" and (note := use_threads(None).note):
        console.print(note)
    rows = [
        (name, *(NOTHING if gflops is None else f"{gflops:,.0f}" for gflops in speeds.values()))
        for name, speeds in measure_operations(compute)
    ]
    print_table(("GFLOP/s", *PRECISIONS), rows)
    runs = RUNS.resolve()
    disk = measure_disk(_nearest_folder(runs))
    read = f"read at {disk['read']:,.0f} MB/s, " if "read" in disk else ""
    speed = f"written at {disk['write']:,.0f} MB/s"
    console.print(f"{runs}: {speed}, {read}a small file in {disk['flush']:.1f} ms")


def print_forecasts(recipes: Sequence[Recipe], benchmark: bool) -> None:
    """Print how long recipes take here; with ``benchmark`` also two well-known ones.

    Raises every error of ``forecast``.
    """
    networks = [find(name) for name in _NETWORKS if benchmark]
    rows = [forecast_row(recipe) for recipe in (*networks, *recipes)]
    names = ("recipe", "images/s", "in all", "training", "evaluation", "GPU memory")
    print_table(names[: len(rows[0])], rows)


def forecast_row(recipe: Recipe) -> tuple[str, ...]:
    """Return a recipe's name, speed and times in words; on a GPU its memory, too."""
    result = forecast(recipe, _FORECAST_TIME)
    times = result.train_seconds, result.evaluate_seconds
    row = (
        recipe.name,
        f"{result.images_per_second:,.0f}",
        *(format_duration(seconds) for seconds in (sum(times), *times)),
    )
    if result.peak_memory is None:
        return row
    return (*row, formatting.plain_spaces(formatting.memory(result.peak_memory)))
