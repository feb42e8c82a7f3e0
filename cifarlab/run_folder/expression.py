"""Conditions on runs: comparisons of their keys, joined by and, or, not.

    optimizer.lr > 0.01 and model.kind in ("resnet", "cnn") and not evaluation.test

The form is Python's, whose own parser reads it; nothing is executed. A key that a run does not have
is null: it equals nothing else, and is neither less nor greater. true, false and null may be
written as in a recipe.
"""

import ast
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from cifarlab.config.duration import Duration
from cifarlab.system.errors import UserError

Lookup = Callable[[str], Any]  # from a key to its value, None where there is none
Evaluate = Callable[[Lookup], Any]
_EXAMPLE = "write e.g. \"optimizer.lr > 0.01 and model.kind == 'resnet'\""
_WORDS = {"true": True, "false": False, "null": None}
_ORDERS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: lambda a, b: a < b,
    ast.LtE: lambda a, b: a <= b,
    ast.Gt: lambda a, b: a > b,
    ast.GtE: lambda a, b: a >= b,
}


class Expression:
    """A condition, and the ``keys`` that it asks for."""

    def __init__(self, text: str) -> None:
        """Read a condition.

        Args:
            text: as in this module's first lines

        Raises:
            UserError: it is none
        """
        self.text = text
        self.keys: list[str] = []
        try:
            self._value = self._compile(ast.parse(text.strip(), mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            from cifarlab.recipes.refusals import short_repr

            message = error.msg if isinstance(error, SyntaxError) else str(error)
            what = f"can't read the condition {short_repr(text)}: {message}"
            raise UserError(what, _EXAMPLE) from error

    def holds(self, lookup: Lookup) -> bool:
        """Return whether the condition holds for a run.

        Args:
            lookup: returns the run's value of a key

        Raises:
            UserError: a number is compared with a text, or what has no order, or is no list
        """
        return bool(self._value(lookup))

    def _compile(self, node: ast.expr) -> Evaluate:
        """Return a function that computes a node's value. Raises ValueError for what is refused."""
        if (key := _key(node)) is not None:
            if key in _WORDS:
                return lambda _: _WORDS[key]
            self.keys.append(key)
            return lambda lookup: lookup(key)
        match node:
            case ast.Constant(value=(bool() | int() | float() | str() | None) as value):
                return lambda _: value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=(int() | float()) as size)):
                return lambda _: -size
            case ast.List(elts=items) | ast.Tuple(elts=items):
                parts = [*map(self._compile, items)]
                return lambda lookup: [part(lookup) for part in parts]
            case ast.BoolOp(op=operator, values=values):
                parts = [*map(self._compile, values)]
                is_met = any if isinstance(operator, ast.Or) else all
                return lambda lookup: is_met(part(lookup) for part in parts)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._compile(operand)
                return lambda lookup: not inner(lookup)
            case ast.Compare(left=left, ops=ops, comparators=others):
                sides = [*map(self._compile, [left, *others])]
                return lambda lookup: _compare([side(lookup) for side in sides], ops)
        arithmetic = ": there is no arithmetic" if isinstance(node, ast.BinOp | ast.UnaryOp) else ""
        what = f"{ast.unparse(node)[:40]!r} is no comparison, key, number, text or list of them"
        raise ValueError(what + arithmetic)


def _key(node: ast.expr) -> str | None:
    """Return the dotted key that a node spells, None where it is none; a-b is one, a - b is not."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name) if key := _key(inner):
            return f"{key}.{name}"
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            first, second = _key(left), _key(right)
            is_joined = left.end_col_offset == right.col_offset - 1
            return f"{first}-{second}" if first and second and is_joined else None
    return None


def _compare(values: list[Any], ops: list[ast.cmpop]) -> bool:
    return all(_holds(op, a, b) for op, (a, b) in zip(ops, pairwise(values), strict=True))


def _holds(op: ast.cmpop, a: Any, b: Any) -> bool:
    match op:
        case ast.Eq() | ast.Is():
            return _equal(a, b)
        case ast.NotEq() | ast.IsNot():
            return not _equal(a, b)
        case ast.In():
            return _contains(b, a)
        case ast.NotIn():
            return not _contains(b, a)
    if a is None or b is None:
        return False
    for value in (a, b):
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            what = f"{value!r} has no order"
            raise UserError(what, "a number, a text or a duration has one: compare with ==, or in")
    (kind, amount), (other_kind, other_amount) = _order(a), _order(b)
    if (kind == "number") != (other_kind == "number"):
        what = f"{a!r} and {b!r} can't be compared: one is a number, the other is not"
        raise UserError(what, "a duration stands in quotes, with its unit: '30 epochs'")
    return kind == other_kind and _ORDERS[type(op)](amount, other_amount)


def _equal(a: Any, b: Any) -> bool:
    """Return whether values are the same; unlike in Python, true is not 1."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_equal, a, b))
    return isinstance(a, bool) == isinstance(b, bool) and bool(a == b)


def _contains(values: Any, value: Any) -> bool:
    if isinstance(values, list):
        return any(_equal(value, item) for item in values)
    if values is not None and not isinstance(values, str):
        what = f"nothing is in {values!r}: it is no list or text"
        raise UserError(what, "write e.g. seed in (1, 2)")
    return isinstance(values, str) and isinstance(value, str) and value in values


def sort_order(value: Any) -> tuple[Any, ...]:
    """Return what values of any type are sorted by: numbers, durations, texts, then null."""
    kind, amount = _order(value)
    return value is None, kind != "number", kind, amount


def _order(value: Any) -> tuple[str, Any]:
    """Return a kind of values that have an order, and what to compare."""
    if isinstance(value, int | float):
        return "number", value
    try:
        duration = Duration.parse(value)
    except ValueError:
        return "text", str(value)
    return duration.unit, duration.value
