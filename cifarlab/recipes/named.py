"""Studies and searches by their names: those that are shipped, and a user's own."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cifarlab.config.plugins import ExtensibleConfig, Plugin
from cifarlab.recipes.text import find_file, list_shipped, read_named, validate_config

Extensible = TypeVar("Extensible", bound=ExtensibleConfig)


def find_config(
    schema: type[Extensible],
    name: Extensible | str,
    plugins: Sequence[Plugin],
    module: str,
    command: str,
    complete: Callable[[Any, str], Any] = lambda tree, _: tree,
) -> Extensible:
    """Return a shipped study or search, or that in a YAML file; one that is given as it is.

    Args:
        schema: its class
        name: what the user typed, or the study or search
        plugins: loaded ones that are added to its own
        module: its module's file, beside which the shipped ones are
        command: the command that lists these, and the page of the documentation
        complete: returns plain values of a file with what is written in short; the second
            argument says where they come from

    Raises:
        RecipeError: none has this name (the nearest is suggested), or the file is not valid
        PluginError: a plug-in of it can't be loaded
    """
    if isinstance(name, schema):
        return name.add_plugins(plugins)
    what, shipped = schema.__name__.lower(), list_shipped(module)
    path = shipped.get(str(name)) or find_file(what, command, str(name), lambda: shipped)
    tree = complete(read_named(path, what, plugins), str(path))
    return validate_config(
        schema, tree, str(path), f"see docs/{command}.md for what a {what} holds"
    )
