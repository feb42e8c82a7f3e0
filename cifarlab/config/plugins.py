"""Parts of a user's own: Python files whose kinds a recipe can name.

A file is known by the SHA-256 of its bytes. It is run only where this user approved that hash once
(``--plugin FILE`` or ``--trust-plugins``). The approvals lie in the user's configuration folder,
never in a run folder: what came with somebody else's run is not run before that. An installed
package names its file by an entry point of the group ``cifarlab.plugins``; the same holds for it.
"""

import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from traceback import walk_tb
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from cifarlab.config.base import Config
from cifarlab.config.family import (
    Family,
    allow_plugins,
    kinds_of,
    own_modules,
    set_kind_owner,
    set_variable,
)
from cifarlab.system import files
from cifarlab.system.errors import CifarlabError, PluginError

MAX_BYTES = 2**20  # of one file
GROUP = "cifarlab.plugins"


class Plugin(Config):
    """A plug-in file as a recipe names it; only ``sha256`` decides anything."""

    file: str = Field(min_length=1, max_length=4096, description="its path or entry point")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of its bytes")

    @property
    def copy_name(self) -> str:
        """The name of its copy in the ``plugins`` folder of a run."""
        return f"{Path(self.file).stem[:60]}-{self.sha256[:12]}.py"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plugin) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


class ExtensibleConfig(Config):
    """Base of what names plug-ins, whose kinds its parts can be: a recipe, a study, a search."""

    plugins: tuple[Plugin, ...] = Field(
        (), description="files with parts of your own (docs/extend.md); their hashes decide"
    )

    @model_validator(mode="wrap")
    @classmethod
    def _know_the_plugins(cls, tree: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        with allow_plugins(plugin_hashes(tree)):
            return handler(tree)

    def add_plugins(self, plugins: Iterable[Plugin]) -> Self:
        """Return a copy that names these, too."""
        return self.model_copy(update={"plugins": tuple(dict.fromkeys((*self.plugins, *plugins)))})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the plug-ins' sources, so that other processes know their kinds."""
        sources = [(plugin, _sources[plugin.sha256]) for plugin in self.plugins]
        return _unpickled, (type(self), self.model_dump(mode="json"), sources)


_sources: dict[str, bytes] = {}  # of the plug-ins that were run, by SHA-256
_lock = threading.RLock()
_approves_all: ContextVar[bool] = ContextVar("_approves_all", default=False)


@contextmanager
def plugin_session(names: Iterable[str] = (), trust: bool = False) -> Iterator[tuple[Plugin, ...]]:
    """Yield the plug-ins of ``approve_plugins``; errors in the block are as in ``plugin_errors``.

    Args:
        names: files or entry points
        trust: approve all plug-ins that recipes and run folders bring in the block
    """
    with set_variable(_approves_all, trust), plugin_errors():
        yield approve_plugins(names)


def approvals_file() -> Path:
    """Return the file with the hashes that this user approved, one a line, with a name."""
    config_home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config_home / "cifarlab" / "approved_plugins"


def is_approved(sha256: str) -> bool:
    """Return whether this user approved the file of that hash."""
    path = approvals_file()
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return sha256 in {line.partition(" ")[0] for line in lines}


def approve(plugin: Plugin) -> None:
    """Note that this user lets that file be run from now on.

    Raises:
        StorageError: the file of approvals can't be written
    """
    if is_approved(plugin.sha256):
        return
    approvals_file().parent.mkdir(parents=True, exist_ok=True)
    name = " ".join(files.to_utf8(Path(plugin.file).name).split())
    files.append_line(approvals_file(), f"{plugin.sha256} {name}")


def approve_plugins(names: Iterable[str]) -> tuple[Plugin, ...]:
    """Load files or entry points that the user names on the command line: that approves them.

    Raises:
        PluginError: a file that is missing or fails
        StorageError: the file of approvals can't be written
    """
    return tuple(add_plugin(name, named_by_user=True) for name in names)


def add_plugin(name: str, folder: Path = Path(), named_by_user: bool = False) -> Plugin:
    """Load a plug-in by its file or its entry point.

    Args:
        name: path of the file, or name of the entry point
        folder: where a relative path starts
        named_by_user: whether the user gave the name on the command line, which approves it

    Raises:
        PluginError: a file that is missing, not approved, or that fails
        StorageError: the file of approvals can't be written
    """
    path = _entry_point_file(name) or folder / name
    source = _read(path)
    plugin = Plugin(file=str(path), sha256=hashlib.sha256(source).hexdigest())
    if named_by_user:
        approve(plugin)
    _run(plugin, path, source)
    return plugin


def load_plugins(
    plugins: Iterable[Plugin], folder: Path, allowlist: Container[str] = frozenset()
) -> None:
    """Load the plug-ins of a recipe: of each the copy beside the recipe, or else the file itself.

    Args:
        plugins: what the recipe names
        folder: where the recipe lies
        allowlist: SHA-256 that count as approved, besides those of the user's own list

    Raises:
        PluginError: a file that is missing, was changed, was not approved or fails
    """
    for plugin in plugins:
        if plugin.sha256 in _sources:
            continue
        copy = folder / "plugins" / plugin.copy_name
        path = copy if copy.is_file() else folder / plugin.file
        source = _read(path)
        if (digest := hashlib.sha256(source).hexdigest()) != plugin.sha256:
            raise PluginError(
                f"the plug-in {path} was changed: its SHA-256 is {digest[:12]}..., the recipe's "
                f"{plugin.sha256[:12]}...",
                "bring back the file as it was, or start a new run with --plugin",
            )
        _run(plugin, path, source, allowlist)


def load_named_plugins(
    tree: Any, folder: Path, more: Sequence[Plugin] = (), allowlist: Container[str] = frozenset()
) -> Any:
    """Load the plug-ins that a recipe, study or search names, and return its tree with them.

    A ``plugins`` key that is no list of plug-ins stays as it is: validation refuses it.

    Args:
        tree: plain values; an entry of ``plugins`` is a path relative to ``folder``, an entry
            point, or what a recipe in a run folder has
        folder: where the file lies
        more: loaded plug-ins that are added
        allowlist: SHA-256 that count as approved, besides those of the user's own list

    Raises:
        PluginError: a file that is missing, was changed, was not approved or fails
    """
    entries = tree.get("plugins", []) if isinstance(tree, Mapping) else None
    if not isinstance(entries, list) or not (entries or more):
        return tree
    entries = [add_plugin(entry, folder) if isinstance(entry, str) else entry for entry in entries]
    try:
        plugins = [Plugin.model_validate(entry) for entry in entries]
    except ValidationError:
        return tree
    load_plugins(plugins, folder, allowlist)
    return {**tree, "plugins": list(dict.fromkeys([*plugins, *more]))}


def plugin_hashes(tree: Any) -> list[str]:
    """Return the SHA-256 of all plug-ins that a tree of plain values names."""
    entries = tree.get("plugins", ()) if isinstance(tree, Mapping) else ()
    plugins = entries if isinstance(entries, list | tuple) else ()
    hashes = [dict(p).get("sha256") for p in plugins if isinstance(p, Mapping | Plugin)]
    return [text for text in hashes if isinstance(text, str)]


def copy_plugins(plugins: Iterable[Plugin], folder: Path) -> None:
    """Copy the sources of loaded plug-ins to where ``load_plugins`` looks.

    Raises:
        StorageError: they can't be written
    """
    for plugin in plugins:
        (folder / "plugins").mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "plugins" / plugin.copy_name, _sources[plugin.sha256])


def decisive_plugins(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """Return those that belong in a recipe: not those that bring nothing but, say, callbacks."""
    kinds = {plugin: kinds_of(plugin.sha256) for plugin in plugins}
    return tuple(p for p, types in kinds.items() if not types or any(t.in_recipe for t in types))


@contextmanager
def plugin_errors(part: Family | None = None) -> Iterator[None]:
    """Turn what a user's own code raises in the block into a PluginError that says where.

    What cifarlab's code or the disk alone raises stays as it is.

    Args:
        part: the part of a recipe whose methods the block calls; None: it may be any of the user's

    Raises:
        PluginError: the part's code raised something
    """
    try:
        yield
    except (CifarlabError, MemoryError):
        raise
    except Exception as error:
        modules, is_shipped = own_modules(), part is None or part.is_shipped()
        frames = [
            (frame.f_code.co_filename, line)
            for frame, line in walk_tb(error.__traceback__)
            if frame.f_globals.get("__name__") in modules
        ]
        # torch's own OutOfMemoryError is no fault of the code
        is_ours = not frames and (is_shipped or isinstance(error, OSError))
        if type(error).__name__ == "OutOfMemoryError" or is_ours:
            raise
        where = "".join(f" in {file}, line {line}" for file, line in frames[-1:])
        name = f"kind {part.kind!r}" if part else "a part of your own"
        what = f"{name} fails{where}: {type(error).__name__}: {files.reason(error)}"
        raise PluginError(what, "mend it there") from error


def _unpickled(
    schema: type[ExtensibleConfig], tree: dict[str, Any], sources: list[tuple[Plugin, bytes]]
) -> ExtensibleConfig:
    for plugin, source in sources:
        restore_plugin(plugin, source)
    return schema.model_validate(tree)


def _run(plugin: Plugin, path: Path, code: bytes, allowlist: Container[str] = frozenset()) -> None:
    if _approves_all.get():
        approve(plugin)
    if not (plugin.sha256 in allowlist or is_approved(plugin.sha256)):
        raise PluginError(
            f"{path} (SHA-256 {plugin.sha256[:12]}...) is code that you have not approved",
            "read it; then --trust-plugins (in Python trust_plugins=True) approves it and goes on",
        )
    restore_plugin(plugin, code, path)


def restore_plugin(plugin: Plugin, source: bytes, path: Path | None = None) -> None:
    """Run a file's code, once in a process, as a module of its own; its kinds belong to its hash.

    It is not asked here whether the user approved it: the caller has, or another process of this
    user has sent it.

    Args:
        plugin: the plug-in
        source: the file's bytes
        path: the name of the file in tracebacks; the plug-in's own where it is left out

    Raises:
        PluginError: the code fails
    """
    path = path or Path(plugin.file)
    with _lock:
        if plugin.sha256 in _sources:
            return
        name = f"cifarlab_plugin_{plugin.sha256}"
        spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
        assert spec
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        module.__file__ = str(path)
        try:
            with set_kind_owner(plugin.sha256):
                exec(compile(source, str(path), "exec"), module.__dict__)
        except Exception as error:
            del sys.modules[name]
            if isinstance(error, PluginError):  # of a kind in it
                raise
            raise PluginError(
                f"the plug-in {path} fails: {type(error).__name__}: {error!s:.200}",
                f"mend it; 'python {path}' shows where",
            ) from error
        _sources[plugin.sha256] = source


def _entry_point_file(name: str) -> Path | None:
    """Return the file of an installed package's entry point, None for any other name.

    Nothing of the package is run: a dotted module is looked up in its packages' folders.
    """
    if "/" in name or name.endswith(".py"):
        return None
    for point in entry_points(group=GROUP, name=name):
        package, *inner = point.module.split(".")
        spec = importlib.util.find_spec(package)
        for part in inner:
            package = f"{package}.{part}"
            spec = spec and PathFinder.find_spec(package, spec.submodule_search_locations or ())
        if spec and spec.origin:
            return Path(spec.origin)
    return None


def _read(path: Path) -> bytes:
    with files.damage_errors(f"can't read the plug-in {path}", "check its name", PluginError):
        return files.read_bytes(path, MAX_BYTES)
