"""Recipes as text: YAML both ways, ``key=value`` changes, the fingerprint.

Everything that comes from outside passes through ``build``, which turns whatever pydantic finds
into one RecipeError with the path to the setting, the allowed values and the nearest match.
"""

import difflib
import hashlib
import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cifarlab.config.base import Part
from cifarlab.recipes.hints import LIST_KEYS, advice, key_hint, kinds_with, nearest
from cifarlab.recipes.keys import config_classes
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import RecipeError, UserError
from cifarlab.system.files import MOST_YAML_BYTES, is_file, read_text

Schema = TypeVar("Schema", bound=Part)
Shipped = TypeVar("Shipped")
_MOST_LEVELS = 20  # of mappings and lists inside each other; a whole recipe has 4
_MOST_BITS = 63  # of a whole number


def build(tree: Any, where: str = "recipe") -> Recipe:
    """Validate a tree of plain values. Raises RecipeError, with ``where`` in its first line."""
    return validate_config(Recipe, tree, where)


def validate_config(schema: type[Schema], tree: Any, where: str, hint: str = LIST_KEYS) -> Schema:
    """``build`` for any schema; ``hint`` says where its keys are explained."""
    if not isinstance(tree, Mapping):
        what = f"{where}: a {schema.__name__.lower()} is a mapping of keys, not {short_repr(tree)}"
        raise RecipeError(what, hint)
    try:
        validated = schema.model_validate(tree)
    except ValidationError as error:
        what, hint = _describe_error(error.errors()[0], schema, hint)
        raise RecipeError(f"{where}: {what}", hint) from error
    for path, what in _find_odd_numbers(tree, validated.model_dump()):
        raise RecipeError(f"{where}: {path} can't be {what}", hint)
    return validated


def to_yaml(recipe: Recipe) -> str:
    """The complete recipe, every setting in the schema's order."""
    tree = recipe.model_dump(mode="json")
    # non-ASCII is escaped: PyYAML writes some of it so that it reads back as something else
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def from_yaml(path: Path) -> Recipe:
    """Read a recipe file; settings it leaves out take their defaults. Raises RecipeError."""
    return build(read_yaml(path, "recipe"), str(path))


def read_yaml(path: Path, what: str) -> Any:
    """The plain values of a YAML file that holds ``what``. Raises RecipeError."""
    try:
        tree = _parse_yaml(read_text(path, MOST_YAML_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RecipeError(f"can't read the {what} {path}: {why}", "check its name") from error
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise RecipeError(f"{path} is no valid YAML: {text}", "mend that line") from error
    if tree is None:
        raise RecipeError(f"{path} is empty", "write at least one setting, e.g. seed: 0")
    return tree


def change(recipe: Recipe, changes: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A copy with settings replaced by dotted path, validated anew.

    ``{"optimizer.kind": "adamw", "optimizer.rate": 0.001}``: where a part's kind changes, that
    part starts from the new kind's defaults, whatever the order of the changes.
    """
    tree = recipe.model_dump(mode="json")
    # whole parts before their keys, kinds before the rest
    for path in sorted(changes, key=lambda p: (p.count("."), not p.endswith(".kind"))):
        *parents, last = path.split(".")
        part: Any = tree
        for parent in parents:
            part = part.get(parent) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            build(tree, where)  # what was changed before may be at fault
            hint = key_hint(path, changes[path], _paths(tree))
            raise RecipeError(f"{where}: unknown key {short_repr(path)}", hint)
        if last == "kind" and part["kind"] != changes[path]:
            part.clear()
        part[last] = changes[path]
        if last == "kind" or isinstance(changes[path], Mapping):
            tree = _complete(tree, Recipe(), [Recipe])
    return build(tree, where)


def _complete(tree_part: Any, default: Any, choices: list[type[Part]]) -> Any:
    """``tree_part`` with what it leaves out of its parts, at any depth; what is wrong in it stays.

    As validation would have it, but settings that contradict each other may still change.
    """
    if not (isinstance(tree_part, Mapping) and isinstance(default, Part)):
        return tree_part
    default_kind = getattr(default, "kind", None)
    if (kind := tree_part.get("kind", default_kind)) != default_kind:
        tagged = [choice for choice in choices if "kind" in choice.model_fields]
        fitting = [choice for choice in tagged if choice.model_fields["kind"].default == kind]
        if not fitting:
            return tree_part
        default = fitting[0]()
    fields = type(default).model_fields
    completed_tree = default.model_dump(mode="json") | dict(tree_part)
    return {
        name: _complete(value, getattr(default, name), config_classes(fields[name].annotation))
        if name in fields
        else value
        for name, value in completed_tree.items()
    }


def apply_overrides(
    recipe: Recipe, assignments: Iterable[str], plain: Mapping[str, str] | None = None
) -> Recipe:
    """Apply ``key=value`` texts of a command line; values are read as YAML.

    ``plain`` holds changes whose values are taken as they are, such as paths.
    """
    changes: dict[str, Any] = dict(plain or {})
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise RecipeError(
                f"{short_repr(assignment)} is no key=value", "write e.g. optimizer.rate=0.05"
            )
        if key in changes:
            raise RecipeError(f"{key} is given twice", "keep one of them")
        try:
            changes[key] = _parse_yaml(value)
        except yaml.YAMLError as error:
            raise RecipeError(
                f"can't read {short_repr(assignment)} as YAML", "quote the value"
            ) from error
    return change(recipe, changes, "command line")


def fingerprint(recipe: Recipe) -> str:
    """SHA-256 (hex) of the canonical form: all settings but the name, sorted, as JSON."""
    canonical = json.dumps(recipe.model_dump(mode="json", exclude={"name"}), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse_yaml(text: str) -> Any:
    """YAML as plain values. Raises yaml.YAMLError, and nothing else, for what is none."""
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # PyYAML's constructors raise whatever they stumble over
        raise yaml.YAMLError(f"{type(error).__name__}: {error!s:.80}") from error


def _find_odd_numbers(tree_part: Any, validated: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where Python took true for 1, and numbers that no file of ours may hold."""
    if isinstance(tree_part, bool) and not isinstance(validated, bool):
        yield path, "true or false"
    elif isinstance(tree_part, int) and tree_part.bit_length() > _MOST_BITS:
        yield path, f"a number of more than {_MOST_BITS} bits"
    elif isinstance(tree_part, Mapping):
        for name, value in tree_part.items():
            yield from _find_odd_numbers(value, validated[name], f"{path}.{name}".lstrip("."))
    elif isinstance(tree_part, list | tuple):
        for index, pair in enumerate(zip(tree_part, validated, strict=True)):
            yield from _find_odd_numbers(*pair, f"{path}.{index}")


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader that refuses what a person never means, and what takes for ever.

    A key given twice, instead of taking the last; an alias, which a few lines can make as large as
    they like; what is nested too deep; a number of more bits than any setting has.
    """

    def get_single_node(self) -> yaml.Node | None:
        root: yaml.Node | None = super().get_single_node()
        pending, seen = [(root, 0)] if root else [], set()
        while pending:
            node, level = pending.pop()
            if id(node) in seen:
                raise _yaml_error("an alias (*name) can't stand here: write it out", node)
            if level > _MOST_LEVELS:
                raise _yaml_error("it is nested too deep", node)
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                pending += [(child, level + 1) for pair in node.value for child in pair]
            elif isinstance(node, yaml.SequenceNode):
                pending += [(child, level + 1) for child in node.value]
        return root

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)  # refuses a list as a key
        seen: set[Any] = set()
        for name in names:
            if name in seen:
                raise _yaml_error(f"key {short_repr(name)} is given twice", node)
            seen.add(name)
        return mapping

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        number: int = super().construct_yaml_int(node)
        if number.bit_length() > _MOST_BITS:
            raise _yaml_error(f"a number of more than {_MOST_BITS} bits", node)
        return number


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def _yaml_error(what: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


class _ShortRepr(reprlib.Repr):
    """The start of a value's repr, at a cost that does not grow with the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:
        many = x.bit_length() > 2 * _MOST_BITS  # Python refuses to write very long ones
        return f"a number of {x.bit_length()} bits" if many else repr(x)


short_repr = _ShortRepr().repr


def _describe_error(error: ErrorDetails, schema: type[Part], list_keys: str) -> tuple[str, str]:
    """One of pydantic's findings as (what and where, what to do)."""
    part, path = _resolve_location(error["loc"], schema)
    dotted = ".".join(path) or schema.__name__.lower()
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        known = list(part.model_fields) if part else []
        is_recipe_key = schema is Recipe and not kinds_with(dotted)
        suggestion = advice(dotted, error["input"]) if is_recipe_key else None
        return f"unknown key {short_repr(dotted)}", suggestion or nearest(path[-1], known)
    if error["type"] in ("literal_error", "union_tag_invalid"):
        choices = [
            text.strip("' ")
            for text in str(context.get("expected") or context["expected_tags"])
            .replace(" or ", ", ")
            .split(", ")
        ]
        tagged = error["type"] == "union_tag_invalid"
        value = context["tag"] if tagged else error["input"]
        return f"{dotted}{'.kind' if tagged else ''} can't be {short_repr(value)}", nearest(
            value, choices
        )
    if error["type"] == "missing":
        return f"{dotted} is missing", list_keys
    if error["type"] in ("model_type", "model_attributes_type") and part:
        names, value = list(part.model_fields), error["input"]
        has_kind = "kind" in names and isinstance(value, str)
        kind_hint = f"write {dotted}.kind={value:.60}" if has_kind else None
        return (
            f"{dotted} has keys of its own, so it can't be {short_repr(value)}",
            advice(dotted, value) or kind_hint or f"its keys: {', '.join(names)}",
        )
    message = error["msg"].removeprefix("Value error, ")[:400]
    if error["type"] == "value_error":
        return f"{dotted}: {message}" if path else message, list_keys
    return (
        f"{dotted} can't be {short_repr(error['input'])}: {message[0].lower()}{message[1:]}",
        list_keys,
    )


def _resolve_location(loc: tuple[int | str, ...], schema: type[Part]) -> tuple[type[Part] | None, list[str]]:
    """The schema class at the end of pydantic's location, and the path as a user writes it.

    pydantic puts the tag of a tagged part into the location; a user does not.
    """
    part: type[Part] | None = schema
    path: list[str] = []
    choices: list[type[Part]] = [schema]
    for step in loc:
        tags = {c.model_fields["kind"].default: c for c in choices if "kind" in c.model_fields}
        if len(choices) > 1 and step in tags:
            choices = [tags[str(step)]]
            part = choices[0]
            continue
        path.append(str(step))
        field = part.model_fields.get(str(step)) if part else None
        if field and (inner := config_classes(field.annotation)):
            choices, part = inner, inner[0]
        elif not (isinstance(step, int) and part):
            choices = choices if field is None else []
    return part, path


def _paths(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    return [
        path
        for name, value in tree.items()
        for path in (
            _paths(value, f"{prefix}{name}.") if isinstance(value, dict) else [f"{prefix}{name}"]
        )
    ]


def find_or_read(
    what: str,
    command: str,
    name: str,
    known: Mapping[str, Shipped],
    read: Callable[[Path], Shipped],
) -> Shipped:
    """What is ``known`` by that name, or ``read`` from the YAML file of that path.

    Raises UserError, with the nearest name and the ``command`` that lists all.
    """
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or is_file(path):
        return read(path)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    start = f"did you mean {match[0]!r}? " if match else ""
    raise UserError(
        f"no {what} is called {short_repr(name)}",
        f"{start}'cifarlab {command}' lists all; a file's name ends in .yaml",
    )
