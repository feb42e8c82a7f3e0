"""What ``cifarlab check`` finds: the machine, the arithmetic, the libraries, the data."""

import importlib.util
import os
import shutil
from importlib import metadata
from pathlib import Path
from platform import platform, python_version

import torch

from cifarlab.compute import choose, has_bfloat16
from cifarlab.data.cache import cache_root

_LIBRARIES = ("torch", "numpy", "pydantic", "safetensors", "pillow", "scikit-learn", "scipy")
_EXTRAS = {"report": ("matplotlib", "jinja2")}


def findings() -> list[tuple[str, str]]:
    """Rows of (what, found), in the order in which a user asks."""
    compute = choose()
    described = compute.describe()
    native = "native" if has_bfloat16(compute.device) else "not native"
    return [
        ("system", f"{platform()}, Python {python_version()}"),
        ("device", f"{described['type']}: {described['name']}, {described['threads']} threads"),
        ("precision", f"{compute.precision} (bfloat16 is {native} here); training.precision=..."),
        ("memory", _memory(compute.device)),
        *((name, metadata.version(name)) for name in _LIBRARIES),
        *((f"extra {name}", _extra(name, needs)) for name, needs in _EXTRAS.items()),
        ("CIFARLAB_DATA", _archives()),
        ("cache", _space(cache_root())),
        ("runs", _space(Path("runs").resolve())),
    ]


def _memory(device: torch.device) -> str:
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f} GiB on the GPU"
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{total / 2**30:.1f} GiB"


def _extra(name: str, needs: tuple[str, ...]) -> str:
    if all(importlib.util.find_spec(module) for module in needs):
        return "installed"
    return f"missing: pip install 'cifarlab[{name}]'"


def _archives() -> str:
    folder = os.environ.get("CIFARLAB_DATA")
    if not folder:
        return "not set: archives are looked up where you say, then downloaded"
    if not Path(folder).is_dir():
        return f"{folder} is no folder"
    names = sorted(p.name for p in Path(folder).iterdir() if p.suffix in (".gz", ".xz", ".zip"))
    return f"{folder}: {', '.join(names) or 'no archives'}"


def _space(folder: Path) -> str:
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free / 2**30
    writable = "" if os.access(existing, os.W_OK) else ", not writable"
    return f"{folder} ({free:.0f} GiB free{writable})"
