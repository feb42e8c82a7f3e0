"""The values of a nested mapping, such as a recipe or a result, by their dotted path."""

from collections.abc import Iterator, Mapping
from typing import Any

Values = dict[str, Any]
_MAX_ITEMS = 32  # of a list: a confusion matrix or the classes of a result are no setting
_MAX_LETTERS = 200


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of a nested mapping, in its order."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def flatten(tree: Mapping[str, Any]) -> Values:
    """Return the values of a nested mapping by dotted path, but for tables and long texts."""
    return {path: value for path, value in leaves(tree) if _is_short(value)}


def find_part(values: Values, path: str) -> Any:
    """Return what stands for a part, which has values of its own: its kind, or true without one."""
    if any(key.startswith(f"{path}.") for key in values):
        return values.get(f"{path}.kind", True)
    return None


def _is_short(value: Any) -> bool:
    if isinstance(value, list):
        is_plain = all(not isinstance(item, dict | list) for item in value)
        return is_plain and len(value) <= _MAX_ITEMS
    return not isinstance(value, str) or len(value) <= _MAX_LETTERS
