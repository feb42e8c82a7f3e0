"""The plug-in of foreign_parts.py, loaded; its kinds are known to recipes that name it alone."""

import hashlib
from pathlib import Path

from cifarlab.config.plugins import Plugin, restore_plugin


def load(path: Path) -> Plugin:
    source = path.read_bytes()
    plugin = Plugin(file=str(path), sha256=hashlib.sha256(source).hexdigest())
    restore_plugin(plugin, source)
    return plugin


PLUGIN = load(Path(__file__).parent / "foreign_parts.py")
