"""Recipes as text: YAML both ways, ``key=value`` changes, the fingerprint.

Everything that comes from outside passes through ``build``, which turns whatever pydantic finds
into one RecipeError with the path to the setting, the allowed values and the nearest match.
"""

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cifarlab.errors import RecipeError, UserError
from cifarlab.recipe.base import Part
from cifarlab.recipe.hints import LIST_KEYS, advice, key_hint, kinds_with, nearest
from cifarlab.recipe.keys import parts_of
from cifarlab.recipe.schema import Recipe

Schema = TypeVar("Schema", bound=Part)
Shipped = TypeVar("Shipped")


def build(tree: Any, where: str = "recipe") -> Recipe:
    """Validate a tree of plain values. Raises RecipeError, with ``where`` in its first line."""
    return validated(Recipe, tree, where)


def validated(schema: type[Schema], tree: Any, where: str, hint: str = LIST_KEYS) -> Schema:
    """``build`` for any schema; ``hint`` says where its keys are explained."""
    if not isinstance(tree, Mapping):
        what = f"{where}: a {schema.__name__.lower()} is a mapping of keys, not {tree!r:.40}"
        raise RecipeError(what, hint)
    try:
        made = schema.model_validate(tree)
    except ValidationError as error:
        what, hint = _explain(error.errors()[0], schema, hint)
        raise RecipeError(f"{where}: {what}", hint) from error
    for path in _truths_as_numbers(tree, made.model_dump()):
        raise RecipeError(f"{where}: {path} can't be true or false", hint)
    return made


def to_yaml(recipe: Recipe) -> str:
    """The complete recipe, every setting in the schema's order."""
    tree = recipe.model_dump(mode="json")
    # non-ASCII is escaped: PyYAML writes some of it so that it reads back as something else
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def from_yaml(path: Path) -> Recipe:
    """Read a recipe file; settings it leaves out take their defaults. Raises RecipeError."""
    return build(tree_of(path, "recipe"), str(path))


def tree_of(path: Path, what: str) -> Any:
    """The plain values of a YAML file that holds ``what``. Raises RecipeError."""
    try:
        tree = _parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"can't read the {what} {path}: {error}", "check its name") from error
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
            raise RecipeError(f"{where}: unknown key {path!r}", hint)
        if last == "kind" and part["kind"] != changes[path]:
            part.clear()
        part[last] = changes[path]
        if last == "kind" or isinstance(changes[path], Mapping):
            tree = _whole(tree, Recipe(), [Recipe])
    return build(tree, where)


def _whole(given: Any, default: Any, choices: list[type[Part]]) -> Any:
    """``given`` with what it leaves out of its parts, at any depth; what is wrong in it stays.

    As validation would have it, but settings that contradict each other may still change.
    """
    if not (isinstance(given, Mapping) and isinstance(default, Part)):
        return given
    usual = getattr(default, "kind", None)
    if (kind := given.get("kind", usual)) != usual:
        tagged = [choice for choice in choices if "kind" in choice.model_fields]
        fitting = [choice for choice in tagged if choice.model_fields["kind"].default == kind]
        if not fitting:
            return given
        default = fitting[0]()
    fields = type(default).model_fields
    whole = default.model_dump(mode="json") | dict(given)
    return {
        name: _whole(value, getattr(default, name), parts_of(fields[name].annotation))
        if name in fields
        else value
        for name, value in whole.items()
    }


def overridden(
    recipe: Recipe, assignments: Iterable[str], plain: Mapping[str, str] | None = None
) -> Recipe:
    """Apply ``key=value`` texts of a command line; values are read as YAML.

    ``plain`` holds changes whose values are taken as they are, such as paths.
    """
    changes: dict[str, Any] = dict(plain or {})
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise RecipeError(f"{assignment!r} is no key=value", "write e.g. optimizer.rate=0.05")
        if key in changes:
            raise RecipeError(f"{key} is given twice", "keep one of them")
        try:
            changes[key] = _parsed(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"can't read {assignment!r} as YAML", "quote the value") from error
    return change(recipe, changes, "command line")


def fingerprint(recipe: Recipe) -> str:
    """SHA-256 (hex) of the canonical form: all settings but the name, sorted, as JSON."""
    canonical = json.dumps(recipe.model_dump(mode="json", exclude={"name"}), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parsed(text: str) -> Any:
    """YAML as plain values. Raises yaml.YAMLError, and nothing else, for what is none."""
    try:
        return yaml.load(text, _StrictLoader)
    except (ValueError, KeyError, RecursionError) as error:  # PyYAML lets its constructors' through
        raise yaml.YAMLError(f"{type(error).__name__}: {error}") from error


def _truths_as_numbers(given: Any, made: Any, path: str = "") -> Iterator[str]:
    """Where Python took true for 1: whoever wrote it meant something else."""
    if isinstance(given, bool) and not isinstance(made, bool):
        yield path
    elif isinstance(given, Mapping):
        for name, value in given.items():
            yield from _truths_as_numbers(value, made[name], f"{path}.{name}".lstrip("."))
    elif isinstance(given, list | tuple):
        for place, pair in enumerate(zip(given, made, strict=True)):
            yield from _truths_as_numbers(*pair, f"{path}.{place}")


class _StrictLoader(yaml.SafeLoader):
    """YAML's safe loader that refuses a key given twice instead of taking the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _explain(error: ErrorDetails, schema: type[Part], list_keys: str) -> tuple[str, str]:
    """One of pydantic's findings as (what and where, what to do)."""
    part, path = _follow(error["loc"], schema)
    dotted = ".".join(path) or schema.__name__.lower()
    context = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        known = list(part.model_fields) if part else []
        mine = schema is Recipe and not kinds_with(dotted)
        meant = advice(dotted, error["input"]) if mine else None
        return f"unknown key {dotted!r}", meant or nearest(path[-1], known)
    if error["type"] in ("literal_error", "union_tag_invalid"):
        choices = [
            text.strip("' ")
            for text in str(context.get("expected") or context["expected_tags"])
            .replace(" or ", ", ")
            .split(", ")
        ]
        tagged = error["type"] == "union_tag_invalid"
        value = context["tag"] if tagged else error["input"]
        return f"{dotted}{'.kind' if tagged else ''} can't be {value!r}", nearest(value, choices)
    if error["type"] == "missing":
        return f"{dotted} is missing", list_keys
    if error["type"] in ("model_type", "model_attributes_type") and part:
        names, value = list(part.model_fields), error["input"]
        usual = f"write {dotted}.kind={value}" if "kind" in names else None
        return (
            f"{dotted} has keys of its own, so it can't be {value!r:.60}",
            advice(dotted, value) or usual or f"its keys: {', '.join(names)}",
        )
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":
        return f"{dotted}: {message}" if path else message, list_keys
    return (
        f"{dotted} can't be {error['input']!r:.60}: {message[0].lower()}{message[1:]}",
        list_keys,
    )


def _follow(loc: tuple[int | str, ...], schema: type[Part]) -> tuple[type[Part] | None, list[str]]:
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
        if field and (inner := parts_of(field.annotation)):
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


def named_or_file(
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
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return read(path)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    start = f"did you mean {match[0]!r}? " if match else ""
    raise UserError(
        f"no {what} is called {name!r}",
        f"{start}'cifarlab {command}' lists all; a file's name ends in .yaml",
    )
