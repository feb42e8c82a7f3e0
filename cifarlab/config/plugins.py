"""Parts of a user's own: Python files whose kinds a recipe can name.

A file is known by the SHA-256 of its bytes. It is run only where this user approved that hash once
(``--plugin FILE`` or ``--trust-plugins``). The approvals lie in the user's configuration folder,
never in a run folder: what came with somebody else's run is not run unasked. An installed package
names its file by an entry point of the group ``cifarlab.plugins``; who installs it approves it.
"""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from cifarlab.config.base import Config
from cifarlab.config.family import owned_by
from cifarlab.system.errors import PluginError
from cifarlab.system.files import hint_to_read, read_bytes, write_text

MOST_BYTES = 2**20  # of one file
GROUP = "cifarlab.plugins"


class Plugin(Config):
    """A plug-in file as a recipe names it; only ``sha256`` decides anything."""

    file: str = Field(min_length=1, max_length=4096, description="its path or entry point")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its bytes")

    @property
    def copy_name(self) -> str:
        """The name of its copy in the ``plugins`` folder of a run."""
        return f"{Path(self.file).stem}-{self.sha256[:12]}.py"


class _Loaded(NamedTuple):
    module: str
    source: bytes


_loaded: dict[str, _Loaded] = {}  # by SHA-256


def approvals_file() -> Path:
    """Return the file with the hashes that this user approved, one a line, with a name."""
    usual = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return usual / "cifarlab" / "approved_plugins"


def is_approved(sha256: str) -> bool:
    """Return whether this user approved the file of that hash."""
    path = approvals_file()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return sha256 in {line.partition(" ")[0] for line in lines}


def approve(plugin: Plugin) -> None:
    """Note that this user wants that file run from now on. Raises StorageError."""
    if is_approved(plugin.sha256):
        return
    path = approvals_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    earlier = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, f"{earlier}{plugin.sha256} {Path(plugin.file).name}\n")


def add_plugin(name: str, folder: Path = Path(), approved: bool = False) -> Plugin:
    """Load the file of that path, relative to ``folder``, or the entry point of that name.

    ``approved``: the user named it on the command line. Raises PluginError and StorageError.
    """
    path = _entry_point_file(name) or folder / name
    source = _read(path)
    plugin = Plugin(file=str(path), sha256=hashlib.sha256(source).hexdigest())
    if approved or _entry_point_file(name):
        approve(plugin)
    _run(plugin, path, source)
    return plugin


def load_plugins(plugins: Iterable[Plugin], folder: Path, trusted: bool = False) -> None:
    """Load the plug-ins of a recipe that lies in ``folder``: its copy there, or the file itself.

    ``trusted``: they are approved by who loads them. Raises PluginError for a file that is not
    there, was changed or was not approved.
    """
    for plugin in plugins:
        if plugin.sha256 in _loaded:
            continue
        copy = folder / "plugins" / plugin.copy_name
        path = copy if copy.is_file() else folder / plugin.file
        source = _read(path)
        if (found := hashlib.sha256(source).hexdigest()) != plugin.sha256:
            raise PluginError(
                f"the plug-in {path} was changed: its SHA-256 is {found[:12]}..., the recipe's "
                f"{plugin.sha256[:12]}...",
                "bring back the file as it was, or start a new run with --plugin",
            )
        if trusted:
            approve(plugin)
        _run(plugin, path, source)


def source_of(plugin: Plugin) -> bytes:
    """Return the bytes of a plug-in that was loaded."""
    return _loaded[plugin.sha256].source


def restore_plugin(plugin: Plugin, source: bytes) -> None:
    """Load a plug-in that another process of this user sent with its recipe."""
    if plugin.sha256 not in _loaded:
        _execute(plugin, Path(plugin.file), source)


def _run(plugin: Plugin, path: Path, source: bytes) -> None:
    if plugin.sha256 in _loaded:
        return
    if not is_approved(plugin.sha256):
        raise PluginError(
            f"{path} (SHA-256 {plugin.sha256[:12]}...) is code that you have not approved",
            "read it; then --trust-plugins approves it and goes on",
        )
    _execute(plugin, path, source)


def _execute(plugin: Plugin, path: Path, source: bytes) -> None:
    """Run the file's code once, as a module of its own; its kinds belong to its hash."""
    name = f"cifarlab_plugin_{plugin.sha256}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise PluginError(f"{path} is no Python file", "give a file whose name ends in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with owned_by(plugin.sha256):
            exec(compile(source, str(path), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        raise PluginError(
            f"the plug-in {path} fails: {type(error).__name__}: {error!s:.200}",
            f"mend it; 'python {path}' shows where",
        ) from error
    _loaded[plugin.sha256] = _Loaded(name, source)


def _entry_point_file(name: str) -> Path | None:
    """Return the file of an installed package's entry point, None for any other name."""
    if "/" in name or name.endswith(".py"):
        return None
    for point in entry_points(group=GROUP, name=name):
        spec = importlib.util.find_spec(point.module)
        if spec and spec.origin:
            return Path(spec.origin)
    return None


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, MOST_BYTES)
    except OSError as error:
        raise PluginError(
            f"can't read the plug-in {path}: {error.strerror or error}",
            hint_to_read(error, "check its name"),
        ) from error
