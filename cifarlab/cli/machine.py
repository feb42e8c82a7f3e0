"""What ``cifarlab check`` finds: the machine, the arithmetic, the libraries, the data."""

import importlib.util
import os
import shutil
from pathlib import Path
from platform import platform, python_version

import torch

from cifarlab.data.cache import cache_root
from cifarlab.data.paths import data_folder, list_sources
from cifarlab.system.device import choose_compute, has_bfloat16, library_versions
from cifarlab.system.device_memory import free_memory

_EXTRAS = {
    "report": ("matplotlib", "jinja2"),
    "search": ("ray", "optuna"),
    "notebook": ("pandas",),
    "explain": ("captum",),
    "audit": ("cleanlab",),
    "dashboard": ("nicegui",),
}


def findings() -> list[tuple[str, str]]:
    """Return rows of (what, finding): the machine first, the folders last."""
    compute = choose_compute()
    facts = compute.describe()
    native = "native" if has_bfloat16(compute.device) else "not native"
    return [
        ("system", f"{platform()}, Python {python_version()}"),
        ("device", f"{facts['type']}: {facts['name']}, {facts['threads']} threads"),
        ("precision", f"{compute.precision} (bfloat16 is {native} here); training.precision=..."),
        ("memory", _memory(compute.device)),
        *library_versions().items(),
        *((f"extra {name}", _extra_state(name, modules)) for name, modules in _EXTRAS.items()),
        ("CIFARLAB_DATA", _data_folder()),
        ("cache", _disk_space(cache_root())),
        ("runs", _disk_space(Path("runs").resolve())),
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
    parent = next(p for p in (folder, *folder.parents) if p.exists())
    gibibytes = shutil.disk_usage(parent).free / 2**30
    note = "" if os.access(parent, os.W_OK) else ", not writable"
    return f"{folder} ({gibibytes:.0f} GiB free{note})"
