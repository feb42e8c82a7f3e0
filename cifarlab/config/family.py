"""Families of parts: a part of the recipe that exists in several kinds, shipped or a user's own.

A **family** is a subclass of ``Family``; a **kind** is a subclass of that whose ``kind`` has a
default. Defining a kind registers it; there is no other list of kinds. A kind that was defined
while a plug-in file was read is known only to recipes that name that file.
"""

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, Self, TypeVar

from pydantic import ModelWrapValidatorHandler, model_validator
from pydantic_core import PydanticCustomError

from cifarlab.config.base import Config
from cifarlab.config.findings import Finding, RunLength
from cifarlab.system.errors import PluginError

_Value = TypeVar("_Value")
IMPORTED = ""  # what owns the kinds that came with an import: ours, a notebook's, a package's
_owner: ContextVar[str] = ContextVar("_owner", default=IMPORTED)
_plugins: ContextVar[frozenset[str]] = ContextVar("_plugins", default=frozenset())


@contextmanager
def set_variable(variable: ContextVar[_Value], value: _Value) -> Iterator[None]:
    """Give a variable that value inside the block."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def set_kind_owner(plugin: str) -> AbstractContextManager[None]:
    """Make the plug-in of that SHA-256 the owner of the kinds that the block defines."""
    return set_variable(_owner, plugin)


def allow_plugins(plugins: Iterable[str]) -> AbstractContextManager[None]:
    """Let recipes name the kinds of these plug-ins (SHA-256), and no others, in the block."""
    return set_variable(_plugins, frozenset(plugins))


class Family(Config):
    """Base of all families of parts."""

    kind: str
    short_form: ClassVar[str] = ""  # what may stand for a part but a mapping, in words
    owner: ClassVar[str] = IMPORTED  # the SHA-256 of the plug-in that defined this kind
    in_recipe: ClassVar[bool] = True  # false: its kinds stand beside the recipe and decide nothing

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.is_kind():
            cls._require_complete()
            # a plug-in may be what first imports one of ours
            cls.owner = IMPORTED if cls.is_shipped() else _owner.get()
            _registry[cls.family(), cls.model_fields["kind"].default, cls.owner] = cls

    @classmethod
    def _require_complete(cls) -> None:
        """Raise PluginError for a kind that has another's name, or that no tool could use."""
        what, kind = cls._origin(), cls.model_fields["kind"].default
        shipped = _registry.get((cls.family(), kind, IMPORTED))
        if shipped and shipped.is_shipped():
            fault = f"{what} can't be kind {kind!r}: cifarlab has {shipped.__name__} by that name"
            raise PluginError(fault, "take another")
        for name in sorted(cls.__abstractmethods__):
            signature = ", ".join(inspect.signature(getattr(cls, name)).parameters)
            missing = f"{what} has no {name}({signature})"
            raise PluginError(missing, "write that method: docs/extend.md says what it returns")
        for name, field in cls.model_fields.items():
            if field.is_required():
                missing = f"{what}: its setting {name} has no default"
                raise PluginError(missing, "give it one, so that tools can list the kind")

    @classmethod
    def _origin(cls) -> str:
        """Return the class's name and file, for an error."""
        file = getattr(sys.modules.get(cls.__module__), "__file__", "this notebook")
        return f"{cls.__name__} of {file}"

    @classmethod
    def is_kind(cls) -> bool:
        """Return whether this class is a kind, and no family or common base of kinds."""
        return isinstance(cls.model_fields["kind"].default, str)

    @classmethod
    def is_shipped(cls) -> bool:
        """Return whether cifarlab brings this class."""
        return cls.__module__.startswith("cifarlab.")

    @classmethod
    def family(cls) -> type["Family"]:
        """Return the family that this class belongs to."""
        return next(base for base in cls.__mro__ if Family in base.__bases__)

    @classmethod
    def kinds(cls) -> dict[str, type[Self]]:
        """Return the kinds that a recipe can name now, in the order of their definition.

        Raises:
            PluginError: two files have a kind of one name, so the order of loading would decide
        """
        owners, kinds = {IMPORTED, *_plugins.get()}, dict[str, type[Self]]()
        for (_, kind, owner), part in _registry.items():
            if owner in owners and issubclass(part, cls) and kinds.setdefault(kind, part) != part:
                what = f"kind {kind!r} is both {kinds[kind]._origin()} and {part._origin()}"
                raise PluginError(what, "name one of the two files, or rename a kind")
        return kinds

    def lint(self, length: RunLength) -> Iterator[Finding]:
        """Yield a finding for each of these settings that trains badly in a run of that length."""
        yield from ()

    def first_acts(self, length: RunLength) -> dict[str, int]:
        """Return, by setting, the first step (from 0) that it changes, if it has a start."""
        return {}

    @classmethod
    def from_text(cls, text: str) -> Any:
        """Return the tree of the part for which a text stands; here the text itself: for none."""
        return text

    @model_validator(mode="wrap")
    @classmethod
    def _pick_the_kind(cls, tree: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Validate by the class that ``kind`` names where this one is a family."""
        if isinstance(tree, str):
            tree = cls.from_text(tree)
        if cls.short_form and not isinstance(tree, Mapping | Family):
            message = f"input should be a kind's name, {cls.short_form} or a mapping"
            raise PydanticCustomError("no_part", message)
        if cls.is_kind() or not isinstance(tree, Mapping):
            return handler(tree)
        kind, kinds = tree.get("kind"), cls.kinds()
        if not (isinstance(kind, str) and kind in kinds):
            context = {"kind": kind, "choices": list(kinds)}
            raise PydanticCustomError("unknown_kind", "no such kind", context)
        return kinds[kind].model_validate(tree)


def kinds_of(owner: str) -> list[type[Family]]:
    """Return the kinds, of all families, that a plug-in has defined."""
    return [config for config in _registry.values() if config.owner == owner]


def own_modules() -> set[str]:
    """Return the names of the modules, ours excepted, that define kinds of any family."""
    return {kind.__module__ for kind in _registry.values() if not kind.is_shipped()}


# by family, kind and owner
_registry: dict[tuple[type[Family], str, str], type[Family]] = {}
