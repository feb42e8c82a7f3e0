"""Parts of a user's own: Python files whose kinds a recipe can name.

A file is known by the SHA-256 of its bytes. It is run only where this user approved that hash once
(``--plugin FILE`` or ``--trust-plugins``). The approvals lie in the user's configuration folder,
never in a run folder: what came with somebody else's run is not run unasked. An installed package
names its file by an entry point of the group ``cifarlab.plugins``, which is run no more unasked.
"""

import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from traceback import walk_tb
from typing import Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from cifarlab.config.base import Config
from cifarlab.config.family import Family, kinds_of, knowing, own_modules, owned_by, setting
from cifarlab.system.errors import CifarlabError, PluginError
from cifarlab.system.files import (
    append_line,
    damage_errors,
    read_bytes,
    reason,
    storable,
    write_bytes,
)

MOST_BYTES = 2**20  # of one file
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
        with knowing(plugin_hashes(tree)):
            return handler(tree)

    def add_plugins(self, plugins: Iterable[Plugin]) -> Self:
        """Return a copy that names these, too."""
        return self.model_copy(update={"plugins": tuple(dict.fromkeys((*self.plugins, *plugins)))})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the plug-ins' sources, so that other processes know their kinds."""
        sources = [(plugin, _loaded[plugin.sha256]) for plugin in self.plugins]
        return _unpickled, (type(self), self.model_dump(mode="json"), sources)


_loaded: dict[str, bytes] = {}  # sources by SHA-256
_loading = threading.RLock()
_trusted: ContextVar[bool] = ContextVar("_trusted", default=False)


def trusting(trusted: bool) -> AbstractContextManager[None]:
    """Approve, meanwhile, whatever recipes and run folders bring, if ``trusted``."""
    return setting(_trusted, trusted)


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
    approvals_file().parent.mkdir(parents=True, exist_ok=True)
    name = " ".join(storable(Path(plugin.file).name).split())
    append_line(approvals_file(), f"{plugin.sha256} {name}")


def approve_plugins(names: Iterable[str]) -> tuple[Plugin, ...]:
    """Load files or entry points that the user named outside of any file: that approves them.

    Raises PluginError and StorageError.
    """
    return tuple(add_plugin(name, approved=True) for name in names)


def add_plugin(name: str, folder: Path = Path(), approved: bool = False) -> Plugin:
    """Load the file of that path, relative to ``folder``, or the entry point of that name.

    ``approved``: the user named it on the command line. Raises PluginError and StorageError.
    """
    path = _entry_point_file(name) or folder / name
    source = _read(path)
    plugin = Plugin(file=str(path), sha256=hashlib.sha256(source).hexdigest())
    if approved:
        approve(plugin)
    _run(plugin, path, source)
    return plugin


def load_plugins(
    plugins: Iterable[Plugin], folder: Path, approved: Container[str] = frozenset()
) -> None:
    """Load the plug-ins of a recipe that lies in ``folder``: its copy there, or the file itself.

    ``approved`` are hashes that this user approved elsewhere. Raises PluginError for a file that
    is not there, was changed or was not approved.
    """
    for plugin in plugins:
        if plugin.sha256 in _loaded:
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
        _run(plugin, path, source, approved)


def load_named_plugins(
    tree: Any, folder: Path, more: Sequence[Plugin] = (), approved: Container[str] = frozenset()
) -> Any:
    """Return the tree of a recipe, study or search with its ``plugins`` loaded, and ``more``.

    Each is a path relative to ``folder``, an entry point, or what a recipe in a run folder has.
    Raises PluginError; what is no list of these stays, for validation to refuse.
    """
    entries = tree.get("plugins", []) if isinstance(tree, Mapping) else None
    if not isinstance(entries, list) or not (entries or more):
        return tree
    named = [add_plugin(entry, folder) if isinstance(entry, str) else entry for entry in entries]
    try:
        plugins = [Plugin.model_validate(entry) for entry in named]
    except ValidationError:
        return tree
    load_plugins(plugins, folder, approved)
    return {**tree, "plugins": list(dict.fromkeys([*plugins, *more]))}


def plugin_hashes(tree: Any) -> list[str]:
    """Return the hashes of the plug-ins that a tree of plain values names, where it is one."""
    entries = tree.get("plugins", ()) if isinstance(tree, Mapping) else ()
    plugins = entries if isinstance(entries, list | tuple) else ()
    hashes = [dict(p).get("sha256") for p in plugins if isinstance(p, Mapping | Plugin)]
    return [text for text in hashes if isinstance(text, str)]


def copy_plugins(plugins: Iterable[Plugin], folder: Path) -> None:
    """Copy the sources of loaded plug-ins to where ``load_plugins`` looks. Raises StorageError."""
    for plugin in plugins:
        (folder / "plugins").mkdir(parents=True, exist_ok=True)
        write_bytes(folder / "plugins" / plugin.copy_name, _loaded[plugin.sha256])


def decisive_plugins(plugins: Iterable[Plugin]) -> tuple[Plugin, ...]:
    """Return those that belong in a recipe: not those that bring, say, nothing but callbacks."""
    kinds = {plugin: kinds_of(plugin.sha256) for plugin in plugins}
    return tuple(p for p, made in kinds.items() if not made or any(k.in_recipe for k in made))


@contextmanager
def plugin_errors(part: Family | None = None) -> Iterator[None]:
    """Turn what a user's own code raises in the block into a PluginError that says where.

    ``part`` is what is called there, None where it may be any part of the user's own. What
    cifarlab's code or the disk alone raises stays as it is.
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
        what = f"{name} fails{where}: {type(error).__name__}: {reason(error)}"
        raise PluginError(what, "mend it there") from error


def _unpickled(
    schema: type[ExtensibleConfig], tree: dict[str, Any], sources: list[tuple[Plugin, bytes]]
) -> ExtensibleConfig:
    for plugin, source in sources:
        restore_plugin(plugin, source)
    return schema.model_validate(tree)


def _run(plugin: Plugin, path: Path, source: bytes, approved: Container[str] = frozenset()) -> None:
    if _trusted.get():
        approve(plugin)
    if not (plugin.sha256 in approved or is_approved(plugin.sha256)):
        raise PluginError(
            f"{path} (SHA-256 {plugin.sha256[:12]}...) is code that you have not approved",
            "read it; then --trust-plugins (in Python trust_plugins=True) approves it and goes on",
        )
    restore_plugin(plugin, source, path)


def restore_plugin(plugin: Plugin, source: bytes, path: Path | None = None) -> None:
    """Run the file's code once, as a module of its own; its kinds belong to its hash.

    It is approved, or another process of this user sent it. Raises PluginError.
    """
    path = path or Path(plugin.file)
    with _loading:
        if plugin.sha256 in _loaded:
            return
        name = f"cifarlab_plugin_{plugin.sha256}"
        spec = importlib.util.spec_from_loader(name, loader=None, origin=str(path))
        assert spec
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        module.__file__ = str(path)
        try:
            with owned_by(plugin.sha256):
                exec(compile(source, str(path), "exec"), module.__dict__)
        except Exception as error:
            del sys.modules[name]
            if isinstance(error, PluginError):  # of a kind in it
                raise
            raise PluginError(
                f"the plug-in {path} fails: {type(error).__name__}: {error!s:.200}",
                f"mend it; 'python {path}' shows where",
            ) from error
        _loaded[plugin.sha256] = source


def _entry_point_file(name: str) -> Path | None:
    """Return the file of an installed package's entry point, None for any other name.

    Nothing of the package is run: a dotted name is searched for in its packages' folders.
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
    with damage_errors(f"can't read the plug-in {path}", "check its name", PluginError):
        return read_bytes(path, MOST_BYTES)
