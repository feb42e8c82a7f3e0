"""Recipes as text: YAML both ways, ``key=value`` changes, the fingerprint.

All plain values from outside pass through ``build``, which turns pydantic's findings into one
RecipeError with the path to the setting, the allowed values and the nearest match.
"""

import difflib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from cifarlab.config.base import Config
from cifarlab.config.family import Family, allow_plugins
from cifarlab.config.plugins import Plugin, load_named_plugins
from cifarlab.recipes.hints import LIST_KEYS, key_hint
from cifarlab.recipes.refusals import describe_error, short_repr
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import RecipeError
from cifarlab.system.files import MAX_YAML_BYTES, exists, hint_to_read, is_folder, read_text

Schema = TypeVar("Schema", bound=Config)
_YAML = (".yaml", ".yml")
_MOST_LEVELS = 20  # of mappings and lists inside each other; a whole recipe has 4
_MOST_BITS = 63  # of a whole number
_MOST_DIGITS = 100  # of a whole number, in YAML


def build(tree: Any, where: str = "recipe", folder: Path | None = None) -> Recipe:
    """Return the recipe of a tree of plain values.

    Args:
        tree: plain values
        where: where they come from, for the error's first line
        folder: the folder of their file, if they have one

    Raises:
        RecipeError: a key or value that is refused
    """
    recipe = validate_config(Recipe, tree, where)
    data, sampler = recipe.data, recipe.data.sampler.relocate(folder or Path())
    parts = {"source": data.source.relocate(folder) if folder else data.source, "sampler": sampler}
    return recipe.model_copy(update={"data": data.model_copy(update=parts)})


def validate_config(schema: type[Schema], tree: Any, where: str, hint: str = LIST_KEYS) -> Schema:
    """Return the value of any schema of ours from a tree of plain values.

    Args:
        schema: its class
        tree: plain values
        where: where they come from, for the error's first line
        hint: where the keys are explained, for the error's second line

    Raises:
        RecipeError: a key or value that is refused
    """
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
    """Return the complete recipe as YAML, every setting in the schema's order."""
    tree = recipe.model_dump(mode="json")
    # non-ASCII is escaped: PyYAML writes some of it so that it reads back as something else
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None)


def from_yaml(path: Path, plugins: Sequence[Plugin] = ()) -> Recipe:
    """Read a recipe file; settings that it leaves out take their defaults.

    Raises:
        RecipeError: it can't be read, or a key or value is refused
        PluginError: a plug-in is missing, not approved or fails
    """
    return build(read_named(path, "recipe", plugins), str(path), path.parent)


def from_text(text: str, where: str, folder: Path) -> Recipe:
    """Return the recipe that ``to_yaml`` wrote.

    Args:
        text: the YAML
        where: where it comes from, for the error's first line
        folder: the folder that has copies of its plug-ins

    Raises:
        RecipeError: it is no YAML, or a key or value is refused
        PluginError: a plug-in is missing, not approved or fails
    """
    try:
        tree = parse_yaml(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: the recipe is no valid YAML", "restore it") from error
    return build(load_named_plugins(tree, folder), where, folder)


def read_named(path: Path, what: str, plugins: Sequence[Plugin] = ()) -> Any:
    """Return the plain values of the file of a recipe, study or search.

    Where they have no ``name``, it is the file's. Plug-ins are loaded: their copies beside the
    file, or the files, relative to its folder. Recipes that are named by files get paths that can
    be opened from the working directory.

    Args:
        path: the file
        what: the word for its content: recipe, study or search
        plugins: loaded ones that are added

    Raises:
        RecipeError: it can't be read
        PluginError: a plug-in is missing, not approved or fails
    """
    tree = load_named_plugins(read_yaml(path, what), path.parent, plugins)
    name = re.sub(r"[^\w.+-]+", "-", path.stem)[:100].strip("-.") or "unnamed"
    return {"name": name, **_find_beside(tree, path.parent)} if isinstance(tree, Mapping) else tree


def _find_beside(tree: Any, folder: Path) -> Any:
    """Return a tree with the paths of recipes, relative to its folder, relative to here."""
    if not isinstance(tree, Mapping):
        return tree
    paths = dict(tree)
    for key in ("base", "recipe"):
        path = folder / str(tree.get(key))
        if path.suffix in _YAML and exists(path):
            paths[key] = str(path)
    if isinstance(tree.get("rows"), list):
        paths["rows"] = [_find_beside(row, folder) for row in tree["rows"]]
    return paths


def read_yaml(path: Path, what: str) -> Any:
    """Return the plain values of a YAML file; ``what`` is the word for its content.

    Raises:
        RecipeError: it can't be read, is no YAML, or empty
    """
    try:
        tree = parse_yaml(read_text(path, MAX_YAML_BYTES))
    except (OSError, UnicodeDecodeError) as error:
        cause = getattr(error, "strerror", None) or error
        hint = hint_to_read(error, "check its name")
        raise RecipeError(f"can't read the {what} {path}: {cause}", hint) from error
    except yaml.YAMLError as error:
        text = " ".join(str(error).split())
        raise RecipeError(f"{path} is no valid YAML: {text}", "mend that line") from error
    if tree is None:
        raise RecipeError(f"{path} is empty", "write at least one setting, e.g. seed: 0")
    return tree


def change(
    recipe: Recipe, changes: Mapping[str, Any], where: str = "recipe", folder: Path | None = None
) -> Recipe:
    """Return a copy of a recipe with settings changed, validated anew.

    Where a part's kind changes, that part starts from the new kind's defaults, whatever the order
    of the changes.

    Args:
        recipe: the recipe
        changes: values by dotted path: ``{"optimizer.kind": "adamw", "optimizer.lr": 0.001}``
        where: where the changes come from, for the error's first line
        folder: the folder of their file, if they have one

    Raises:
        RecipeError: a key or value that is refused
    """
    with allow_plugins(plugin.sha256 for plugin in recipe.plugins):
        tree: Any = recipe
        # whole parts before their keys, kinds before the rest
        for path in sorted(changes, key=lambda p: (p.count("."), not p.endswith(".kind"))):
            try:
                tree = _replace(tree, path.split("."), changes[path], recipe)
            except KeyError:
                build(dict(tree), where)  # what was changed before may be at fault
                hint = key_hint(path, changes[path])
                raise RecipeError(f"{where}: unknown key {short_repr(path)}", hint) from None
        return build(dict(tree), where, folder)


def _replace(part: Any, path: Sequence[str], value: Any, base: Any) -> Any:
    """Return a part with one setting replaced, not yet validated. Raises KeyError for no setting.

    ``base`` is the part before all changes.
    """
    name, *rest = path
    if isinstance(part, str) and isinstance(base, Family):
        part = base.family().from_text(part)
    settings = part if isinstance(part, Mapping) else dict(part) if isinstance(part, Config) else {}
    is_same = isinstance(base, Config) and settings.get("kind") == getattr(base, "kind", None)
    names: Mapping[str, Any] = type(base).model_fields if is_same else settings
    if name not in names and (is_same or not isinstance(part, Mapping)):
        raise KeyError(name)
    old = settings.get(name)
    if rest:
        value = _replace({} if old is None else old, rest, value, getattr(base, name, None))
    elif name == "kind" and old not in (None, value):
        return {"kind": value}
    return {**settings, name: value}


def apply_overrides(
    recipe: Recipe, assignments: Iterable[str], texts: Mapping[str, str] | None = None
) -> Recipe:
    """Return a copy of a recipe with the changes of a command line.

    Args:
        recipe: the recipe
        assignments: ``key=value``, of which the value is read as YAML
        texts: values by dotted path that are no YAML, such as paths

    Raises:
        RecipeError: a text that is no assignment, or a key or value that is refused
    """
    return change(recipe, parse_assignments(assignments, texts), "command line")


def parse_assignments(
    assignments: Iterable[str],
    texts: Mapping[str, str] | None = None,
    hint: str = "write e.g. optimizer.lr=0.05",
) -> dict[str, Any]:
    """Return the settings of a command line by key.

    Args:
        assignments: ``key=value``, of which the value is read as YAML
        texts: further values by key that are no YAML, such as paths
        hint: what the error says of a text that is no assignment

    Raises:
        RecipeError: a text that is no assignment, or a key that is given twice
    """
    changes: dict[str, Any] = dict(texts or {})
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise RecipeError(f"{short_repr(assignment)} is no key=value", hint)
        if key in changes:
            raise RecipeError(f"{key} is given twice", "keep one of them")
        try:
            changes[key] = parse_yaml(value)
        except yaml.YAMLError as error:
            what = f"can't read {short_repr(assignment)} as YAML"
            raise RecipeError(what, "quote the value") from error
    return changes


def fingerprint(recipe: Recipe) -> str:
    """Return the SHA-256 (hex) of all settings that decide and are not their defaults.

    A key that a later version adds changes no fingerprint where it has its default.
    """
    settings = {**_departures(recipe), "plugins": sorted(p.sha256 for p in recipe.plugins)}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def fingerprint_row(recipe: Recipe) -> str:
    """Return the fingerprint that all seeds of a recipe have in common."""
    return fingerprint(recipe.model_copy(update={"seed": 0}))


def _departures(config: Config) -> dict[str, Any]:
    """Return a part's settings that are not their field's default, and its kind."""
    fields = type(config).model_fields
    values = {n: getattr(config, n) for n in fields if n not in config.decides_nothing}
    return {
        name: _as_json(value)
        for name, value in values.items()
        if name == "kind" or value != fields[name].default
    }


def _as_json(value: Any) -> Any:
    if isinstance(value, Config):
        return _departures(value)
    if isinstance(value, tuple):
        return [_as_json(entry) for entry in value]
    if isinstance(value, dict):
        return {name: _as_json(entry) for name, entry in value.items()}
    return value if isinstance(value, str | int | float | None) else str(value)


def parse_yaml(text: str) -> Any:
    """Return YAML as plain values.

    Raises:
        YAMLError: PyYAML's, and nothing else, for any other text
    """
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # PyYAML's constructors raise whatever they stumble over
        raise yaml.YAMLError(f"{type(error).__name__}: {error!s:.80}") from error


def _find_odd_numbers(tree: Any, dump: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the paths where true was taken for 1, and of numbers of too many bits."""
    if isinstance(tree, bool) and not isinstance(dump, bool):
        yield path, "true or false"
    elif isinstance(tree, int) and tree.bit_length() > _MOST_BITS:
        yield path, f"a number of more than {_MOST_BITS} bits"
    elif isinstance(tree, Mapping):
        for name, value in tree.items():
            if isinstance(dump, Mapping):  # and no text that stands for a mapping
                yield from _find_odd_numbers(value, dump[name], f"{path}.{name}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for index, pair in enumerate(zip(tree, dump, strict=True)):
            yield from _find_odd_numbers(*pair, f"{path}.{index}")


class _StrictLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML's safe loader that refuses what nobody means, and what would take too long to read.

    A key given twice, where PyYAML takes the last; an alias, with which a few lines can stand for
    any number of values; what is nested too deep; a number of more digits than any setting has.
    """

    def get_single_node(self) -> yaml.Node | None:
        root: yaml.Node | None = super().get_single_node()
        stack, node_ids = [(root, 0)] if root else [], set()
        while stack:
            node, level = stack.pop()
            if id(node) in node_ids:
                raise _yaml_error("an alias (*name) can't stand here: write it out", node)
            if level > _MOST_LEVELS:
                raise _yaml_error("it is nested too deep", node)
            node_ids.add(id(node))
            if isinstance(node, yaml.MappingNode):
                stack += [(inner, level + 1) for pair in node.value for inner in pair]
            elif isinstance(node, yaml.SequenceNode):
                stack += [(inner, level + 1) for inner in node.value]
        return root

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)  # refuses a list as a key
        for name, count in Counter(names).items():
            if count > 1:
                raise _yaml_error(f"key {short_repr(name)} is given twice", node)
        return mapping

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) > _MOST_DIGITS:
            raise _yaml_error(f"a number of more than {_MOST_DIGITS} digits", node)
        return int(super().construct_yaml_int(node))


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _StrictLoader.construct_yaml_int)


def _yaml_error(what: str, node: yaml.Node) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


def list_shipped(module: str) -> dict[str, Path]:
    """Return the YAML files in the folder ``shipped`` beside a module's file, by name."""
    folder = Path(module).with_name("shipped")
    files = sorted(folder.rglob("*.yaml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}


def find_file(what: str, command: str, name: str, shipped: Callable[[], Iterable[str]]) -> Path:
    """Return the path of a user's YAML file.

    Args:
        what: the word for its content: recipe, study or search
        command: the command that lists the shipped ones
        name: what the user typed
        shipped: returns the names of the shipped ones, for the hint

    Raises:
        RecipeError: the name is no path of a file
    """
    path = Path(name)
    if path.suffix in _YAML or (exists(path) and not is_folder(path)):
        return path
    match = difflib.get_close_matches(name, list(shipped()), n=1, cutoff=0.4)
    start = f"did you mean {match[0]!r}? " if match else ""
    fault = f"no {what} is called {short_repr(name)}"
    raise RecipeError(fault, f"{start}'cifarlab {command}' lists all; a file's name ends in .yaml")
