"""Refused settings in words: the path, the value, and what is allowed instead."""

import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import ErrorDetails

from cifarlab.config.base import Config
from cifarlab.recipes.hints import advice, key_hint, suggest
from cifarlab.recipes.schema import Recipe

_MOST_BITS = 63  # of a whole number


class _ShortRepr(reprlib.Repr):
    """Writes the start of a value's repr, at a cost that does not grow with the value."""

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
    """Return one of pydantic's findings as the two lines of an error.

    Args:
        error: the finding
        schema: what the tree was validated against
        tree: plain values
        list_keys: the hint where no better one is known: where the keys are listed

    Returns:
        What is wrong and where, and what to do.
    """
    path = [str(step) for step in _without_tags(error["loc"], tree)]
    dotted = ".".join(path) or schema.__name__.lower()
    value, context = error["input"], error.get("ctx", {})
    refusal = f"{dotted} can't be {short_repr(value)}"
    message = error["msg"].removeprefix("Value error, ")[:400]
    match error["type"]:
        case "unknown_key":
            key, keys = context["key"], context["keys"]
            dotted = ".".join([*path, str(key)])
            hint = suggest(key, keys)
            if schema is Recipe:
                hint = key_hint(dotted, value[key], hint)
            elif str(key).partition(".")[0] in Recipe.model_fields:
                hint = list_keys
            return f"unknown key {short_repr(dotted)}", hint
        case "unknown_kind":
            kind = context["kind"]
            return f"{dotted}.kind can't be {short_repr(kind)}", suggest(kind, context["choices"])
        case "literal_error":
            choices = context["expected"].replace(" or ", ", ").split(", ")
            return refusal, suggest(value, [choice.strip("' ") for choice in choices])
        case "missing":
            return f"{dotted} is missing", list_keys
        case "no_mapping":
            hint = f"its keys: {', '.join(context['keys'])}"
            if "kind" in context["keys"] and isinstance(value, str):
                hint = f"write {dotted}.kind={value:.60}"
            what = f"{dotted} has keys of its own, so it can't be {short_repr(value)}"
            return what, advice(dotted, value) or hint
        case "value_error":
            return f"{dotted}: {message}" if path else message, list_keys
        case "string_pattern_mismatch":  # only names have one
            message = "it has letters, digits, + - _ . and no leading dot"
    return f"{refusal}: {message[0].lower()}{message[1:]}", list_keys


def _without_tags(loc: tuple[int | str, ...], tree: Any) -> list[int | str]:
    """Return a location without the kinds that pydantic adds to it for a union."""
    path: list[int | str] = []
    for step in loc:
        if isinstance(tree, Mapping):
            if step not in tree and step == tree.get("kind"):
                continue
            tree = tree.get(step)
        elif isinstance(tree, list | tuple) and isinstance(step, int):
            tree = tree[step]
        else:
            break
        path.append(step)
    return path
