"""Recipes as text: YAML both ways, ``key=value`` changes, the fingerprint.

Everything that comes from outside passes through ``build``, which turns whatever pydantic finds
into one RecipeError with the path to the setting, the allowed values and the nearest match.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from cifarlab.config.base import Config
from cifarlab.config.family import Family, knowing
from cifarlab.config.plugins import Plugin, load_named_plugins
from cifarlab.recipes.hints import LIST_KEYS, key_hint
from cifarlab.recipes.refusals import describe_error, short_repr
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import RecipeError
from cifarlab.system.files import MOST_YAML_BYTES, exists, hint_to_read, is_folder, read_text

Schema = TypeVar("Schema", bound=Config)
_YAML = (".yaml", ".yml")
_MOST_LEVELS = 20  # of mappings and lists inside each other; a whole recipe has 4
_MOST_BITS = 63  # of a whole number
_MOST_DIGITS = 100  # of a whole number, in YAML


def build(tree: Any, where: str = "recipe", folder: Path | None = None) -> Recipe:
    """Validate a tree of plain values. Raises RecipeError, with ``where`` in its first line.

    ``folder`` is that of its file, if it has one.
    """
    recipe = validate_config(Recipe, tree, where)
    if folder and (source := recipe.data.source.relocate(folder)) is not recipe.data.source:
        data = recipe.data.model_copy(update={"source": source})
        return recipe.model_copy(update={"data": data})
    return recipe


def validate_config(schema: type[Schema], tree: Any, where: str, hint: str = LIST_KEYS) -> Schema:
    """``build`` for any schema; ``hint`` says where its keys are explained."""
    if not isinstance(tree, Mapping):
        what = f"{where}: a {schema.__name__.lower()} is a mapping of keys, not {short_repr(tree)}"
        raise RecipeError(what, hint)
    try:
        validated = schema.model_validate(tree)
    except ValidationError as error:
        what, hint = describe_error(error.errors()[0], schema, tree, hint)
        raise RecipeError(f"{where}: {what}", hint) from error
    for path, what in _find_odd_numbers(tree, validated.model_dump()):
        raise RecipeError(f"{where}: {path} can't be {what}", hint)
    return validated


def to_yaml(recipe: Recipe) -> str:
    """The complete recipe, every setting in the schema's order."""
    tree = recipe.model_dump(mode="json")
    # non-ASCII is escaped: PyYAML writes some of it so that it reads back as something else
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def from_yaml(path: Path, plugins: Sequence[Plugin] = ()) -> Recipe:
    """Read a recipe file; settings it leaves out take their defaults.

    Raises RecipeError and PluginError.
    """
    return build(read_named(path, "recipe", plugins), str(path), path.parent)


def read_named(path: Path, what: str, plugins: Sequence[Plugin] = ()) -> Any:
    """The plain values of the file of a recipe, study or search, which names it if they do not.

    Its plug-ins are loaded: their copies beside it, or the files, relative to its folder;
    ``plugins`` are added to them. Recipes that it names by files get paths that can be opened from
    here. Raises RecipeError and PluginError.
    """
    tree = load_named_plugins(read_yaml(path, what), path.parent, plugins)
    name = re.sub(r"[^\w.+-]+", "-", path.stem)[:100].strip("-.") or "unnamed"
    return {"name": name, **_find_beside(tree, path.parent)} if isinstance(tree, Mapping) else tree


def _find_beside(tree: Any, folder: Path) -> Any:
    """A tree that names recipes' files in that folder, or else from here, with all from here."""
    if not isinstance(tree, Mapping):
        return tree
    there = dict(tree)
    for key in ("base", "recipe"):
        path = folder / str(tree.get(key))
        if path.suffix in _YAML and exists(path):
            there[key] = str(path)
    if isinstance(tree.get("rows"), list):
        there["rows"] = [_find_beside(row, folder) for row in tree["rows"]]
    return there


def read_yaml(path: Path, what: str) -> Any:
    """The plain values of a YAML file that holds ``what``. Raises RecipeError."""
    try:
        tree = _parse_yaml(read_text(path, MOST_YAML_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        hint = hint_to_read(error, "check its name")
        raise RecipeError(f"can't read the {what} {path}: {why}", hint) from error
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise RecipeError(f"{path} is no valid YAML: {text}", "mend that line") from error
    if tree is None:
        raise RecipeError(f"{path} is empty", "write at least one setting, e.g. seed: 0")
    return tree


def change(recipe: Recipe, changes: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A copy with settings replaced by dotted path, validated anew.

    ``{"optimizer.kind": "adamw", "optimizer.lr": 0.001}``: where a part's kind changes, that
    part starts from the new kind's defaults, whatever the order of the changes.
    """
    with knowing(plugin.sha256 for plugin in recipe.plugins):
        tree: Any = recipe
        # whole parts before their keys, kinds before the rest
        for path in sorted(changes, key=lambda p: (p.count("."), not p.endswith(".kind"))):
            try:
                tree = _replace(tree, path.split("."), changes[path], recipe)
            except KeyError:
                build(dict(tree), where)  # what was changed before may be at fault
                hint = key_hint(path, changes[path])
                raise RecipeError(f"{where}: unknown key {short_repr(path)}", hint) from None
        return build(dict(tree), where)


def _replace(part: Any, path: Sequence[str], value: Any, usual: Any) -> Any:
    """A part with a setting of it replaced, to be validated. Raises KeyError for one it has not.

    ``usual`` is what stood in the part's place at first.
    """
    name, *rest = path
    if isinstance(part, str) and isinstance(usual, Family):
        part = usual.family().from_text(part)
    settings = part if isinstance(part, Mapping) else dict(part) if isinstance(part, Config) else {}
    is_same = isinstance(usual, Config) and settings.get("kind") == getattr(usual, "kind", None)
    known: Mapping[str, Any] = type(usual).model_fields if is_same else settings
    if name not in known and (is_same or not isinstance(part, Mapping)):
        raise KeyError(name)
    old = settings.get(name)
    if rest:
        value = _replace({} if old is None else old, rest, value, getattr(usual, name, None))
    elif name == "kind" and old not in (None, value):
        return {"kind": value}
    return {**settings, name: value}


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
                f"{short_repr(assignment)} is no key=value", "write e.g. optimizer.lr=0.05"
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
    """SHA-256 (hex) of all settings that decide and are not their defaults, as sorted JSON.

    So a key that is added later changes no fingerprint where it has its default.
    """
    settings = {**_departures(recipe), "plugins": sorted(p.sha256 for p in recipe.plugins)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _departures(config: Config) -> dict[str, Any]:
    """The settings of a part that are not its field's default, and its kind."""
    fields = type(config).model_fields
    values = {n: getattr(config, n) for n in fields if n not in config.decides_nothing}
    return {
        name: _plain(value)
        for name, value in values.items()
        if name == "kind" or value != fields[name].default
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return _departures(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    return value if isinstance(value, str | int | float | None) else str(value)


def _parse_yaml(text: str) -> Any:
    """YAML as plain values. Raises yaml.YAMLError, and nothing else, for what is none."""
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # PyYAML's constructors raise whatever they stumble over
        raise yaml.YAMLError(f"{type(error).__name__}: {error!s:.80}") from error


def _find_odd_numbers(tree: Any, made: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Where Python took true for 1, and numbers that no file of ours may hold."""
    if isinstance(tree, bool) and not isinstance(made, bool):
        yield path, "true or false"
    elif isinstance(tree, int) and tree.bit_length() > _MOST_BITS:
        yield path, f"a number of more than {_MOST_BITS} bits"
    elif isinstance(tree, Mapping):
        for name, value in tree.items():
            if isinstance(made, Mapping):  # and no text that stands for a mapping
                yield from _find_odd_numbers(value, made[name], f"{path}.{name}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for index, pair in enumerate(zip(tree, made, strict=True)):
            yield from _find_odd_numbers(*pair, f"{path}.{index}")


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader that refuses what a person never means, and what takes for ever.

    A key given twice, instead of taking the last; an alias, which a few lines can make as large as
    they like; what is nested too deep; a number of more digits than any setting has.
    """

    def get_single_node(self) -> yaml.Node | None:
        root: yaml.Node | None = super().get_single_node()
        left, seen = [(root, 0)] if root else [], set()
        while left:
            node, level = left.pop()
            if id(node) in seen:
                raise _yaml_error("an alias (*name) can't stand here: write it out", node)
            if level > _MOST_LEVELS:
                raise _yaml_error("it is nested too deep", node)
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                left += [(inner, level + 1) for pair in node.value for inner in pair]
            elif isinstance(node, yaml.SequenceNode):
                left += [(inner, level + 1) for inner in node.value]
        return root

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        made: dict[Any, Any] = super().construct_mapping(node, deep)  # refuses a list as a key
        seen: set[Any] = set()
        for name in names:
            if name in seen:
                raise _yaml_error(f"key {short_repr(name)} is given twice", node)
            seen.add(name)
        return made

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _MOST_DIGITS:
            raise _yaml_error(f"a number of more than {_MOST_DIGITS} digits", node)
        number: int = super().construct_yaml_int(node)
        return number


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def _yaml_error(what: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def list_shipped(module: str) -> dict[str, Path]:
    """The YAML files that ship beside that module's file, by name."""
    folder = Path(module).with_name("shipped")
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def find_file(what: str, command: str, name: str, shipped: Callable[[], Iterable[str]]) -> Path:
    """The path of a YAML file, which ``name`` is where it is none of the ``shipped`` ones.

    Raises RecipeError, with the nearest of these and the ``command`` that lists them, for neither.
    """
    path = Path(name)
    if path.suffix in _YAML or (exists(path) and not is_folder(path)):
        return path
    match = difflib.get_close_matches(name, list(shipped()), n=1, cutoff=0.4)
    start = f"did you mean {match[0]!r}? " if match else ""
    raise RecipeError(
        f"no {what} is called {short_repr(name)}",
        f"{start}'cifarlab {command}' lists all; a file's name ends in .yaml",
    )
