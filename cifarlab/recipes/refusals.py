"""What is wrong with settings, in words: the path, what was given, what is allowed instead."""

import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from cifarlab.config.base import Config
from cifarlab.config.family import Family
from cifarlab.recipes.hints import advice, kinds_with, nearest
from cifarlab.recipes.keys import config_of
from cifarlab.recipes.schema import Recipe

_MOST_BITS = 63  # of a whole number


class _ShortRepr(reprlib.Repr):
    """The start of a value's repr, at a cost that does not grow with the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:
        many = x.bit_length() > 2 * _MOST_BITS  # Python refuses to write very long ones
        return f"a number of {x.bit_length()} bits" if many else repr(x)


short_repr = _ShortRepr().repr


def describe_error(
    error: ErrorDetails, schema: type[Config], tree: Any, list_keys: str
) -> tuple[str, str]:
    """One of pydantic's findings as (what and where, what to do)."""
    unknown = error["type"] == "extra_forbidden"
    loc = _without_tags(error["loc"], tree)
    path = [str(step) for step in loc]
    part = _part_at(loc[:-1] if unknown else loc, schema, tree)
    dotted = ".".join(path) or schema.__name__.lower()
    context = error.get("ctx", {})
    if unknown:
        known = list(part.model_fields) if part else []
        mine = schema is Recipe and not kinds_with(dotted)
        meant = advice(dotted, error["input"]) if mine else None
        return f"unknown key {short_repr(dotted)}", meant or nearest(path[-1], known)
    if error["type"] == "unknown_kind":
        named = f"{dotted}.kind can't be {short_repr(context['kind'])}"
        return named, nearest(context["kind"], context["choices"])
    if error["type"] == "literal_error":
        choices = [c.strip("' ") for c in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{dotted} can't be {short_repr(error['input'])}", nearest(error["input"], choices)
    if error["type"] == "missing":
        return f"{dotted} is missing", list_keys
    if error["type"] in ("model_type", "model_attributes_type") and part:
        names, value = list(part.model_fields), error["input"]
        tagged = "kind" in names and isinstance(value, str)
        usual = f"write {dotted}.kind={value:.60}" if tagged else None
        return (
            f"{dotted} has keys of its own, so it can't be {short_repr(value)}",
            advice(dotted, value) or usual or f"its keys: {', '.join(names)}",
        )
    message = error["msg"].removeprefix("Value error, ")[:400]
    if error["type"] == "string_pattern_mismatch":  # only names have one
        message = "it has letters, digits, + - _ . and no leading dot"
    if error["type"] == "value_error":
        return f"{dotted}: {message}" if path else message, list_keys
    return (
        f"{dotted} can't be {short_repr(error['input'])}: {message[0].lower()}{message[1:]}",
        list_keys,
    )


def _without_tags(loc: tuple[int | str, ...], tree: Any) -> tuple[int | str, ...]:
    """The location without the kinds that pydantic puts in for a union: a user writes none."""
    kept: list[int | str] = []
    for step in loc:
        if isinstance(tree, Mapping) and step not in tree and step == tree.get("kind"):
            continue
        kept.append(step)
        tree = tree.get(step) if isinstance(tree, Mapping) else _entry(tree, step)
    return tuple(kept)


def _part_at(loc: tuple[int | str, ...], schema: type[Config], tree: Any) -> type[Config] | None:
    """The class of settings at pydantic's location in ``tree``; None where there is none."""
    config: type[Config] | None = schema
    inside = config  # of a list: what each entry is
    for step in loc:
        tree = tree.get(step) if isinstance(tree, Mapping) else _entry(tree, step)
        field = config.model_fields.get(str(step)) if config else None
        if field is not None:
            inside = _named_kind(config_of(field.annotation), tree, field.default)
            config = inside
        elif isinstance(step, int):
            config = _named_kind(inside, tree, None)
        else:
            config = None
    return config


def _entry(tree: Any, step: int | str) -> Any:
    return tree[step] if isinstance(tree, list | tuple) and isinstance(step, int) else None


def _named_kind(config: type[Config] | None, tree: Any, default: Any) -> type[Config] | None:
    """The kind of a family or union that ``tree`` names, or the usual one; else ``config``."""
    kind = tree.get("kind") if isinstance(tree, Mapping) else None
    if config is None or "kind" not in config.model_fields:
        return config
    if not issubclass(config, Family):
        return next((c for c in _subclasses(config.__mro__[1]) if _tag(c) == kind), config)
    if config.is_kind():
        return config
    named = config.kinds().get(kind) if isinstance(kind, str) else None
    return named or (type(default) if isinstance(default, config) else config)


def _subclasses(base: type) -> list[type]:
    direct: list[type] = base.__subclasses__()
    return [*direct, *(inner for made in direct for inner in _subclasses(made))]


def _tag(config: type) -> Any:
    field = getattr(config, "model_fields", {}).get("kind")
    return field and field.default
