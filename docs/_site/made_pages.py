"""What the site adds to pages: contents from their links, commands, keys, the API.

On a forge these pages are read as they are written; nothing of this is kept in a file.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

import cifarlab
from cifarlab.cli import app as command_line
from cifarlab.config.base import Config
from cifarlab.config.family import Family
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.space import AnyDimension
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.recipes.keys import Key, describe, format_default, keys

ROOT = Path(__file__).parents[2]
ABOVE = {"changelog": "CHANGELOG.md", "contributing": "CONTRIBUTING.md"}
LISTS = ("index", "guides", "reference", "background")
VALUE_NAMES = {"int": "N", "float": "NUMBER", "Path": "PATH"}


def setup(app: Any) -> None:
    """Have Sphinx, whose extension this is, add to each page that it reads what is made for it."""
    app.connect("source-read", add_made_text)
    app.connect("autodoc-process-docstring", add_settings)
    app.connect("autodoc-process-signature", show_signature)
    app.connect("missing-reference", find_public_name)


def add_made_text(app: Any, docname: str, source: list[str]) -> None:
    """Add to a page the contents that its list of links makes, and what is made for its name."""
    if docname in ABOVE:
        source[0] = read_above(ABOVE[docname])
    made = {"commands": commands, "keys": all_keys, "api": api}
    source[0] += made.get(docname, str)() + (contents(source[0]) if docname in LISTS else "")


def read_above(name: str) -> str:
    """Return a page that lies above this folder, its links from here."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def contents(page: str) -> str:
    """Return the contents that the page shows as a list: ``- [Title](page.md): what it is``."""
    links = re.findall(r"^- \[(.*?)\]\(([\w/-]+\.(?:md|ipynb))\)", page, re.MULTILINE)
    lines = [f"{title} <{file}>" for title, file in links]
    return "\n".join(["\n\n```{toctree}", ":hidden:", "", *lines, "```\n"])


# ---------------------------------------------------------------------------------------- commands


def commands() -> str:
    """Return every command with its arguments and options."""
    return "".join(map(_describe_command, *zip(*walk_commands(), strict=True)))


def walk_commands(name: str = "cifarlab", command: Any = None) -> Iterator[tuple[str, Any]]:
    """Yield each command that does something by itself, by its full name, as the help lists them.

    Args:
        name: of the group, as it is typed
        command: the group; without it, the whole program
    """
    command = command or typer.main.get_command(command_line)
    subcommands = getattr(command, "commands", {})
    if not subcommands or command.invoke_without_command:
        yield name, command
    for word, subcommand in subcommands.items():
        yield from walk_commands(f"{name} {word}", subcommand)


def _describe_command(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    words = [name, *(["[OPTIONS]"] if command.params else []), *map(_value, arguments)]
    parts = [f"\n\n## {name}", f"```{{program}} {name}\n```", escape(command.help or "")]
    parts += [f"```text\n{' '.join(words)}\n```"]
    for param in command.params:
        facts = "; ".join(filter(None, (_default(param), "may be repeated" * param.multiple)))
        text = escape(param.help or "") + (f" ({facts})" if facts else "")
        if param in arguments:
            parts.append(f"`{_value(param)}`\n: {text}")
        else:
            parts.append(f"```{{option}} {_names(param)}\n{text}\n```")
    return "\n\n".join(filter(None, parts))


def _names(option: Any) -> str:
    names = [*option.opts, *option.secondary_opts]
    return ", ".join(names if option.is_flag else [f"{name} {_value(option)}" for name in names])


def _value(param: Any) -> str:
    """Return what stands for a value in a command's usage."""
    kind = param.type_descriptor.annotation
    name = getattr(next(iter(get_args(kind)), kind), "__name__", "")
    if param.param_type_name == "option":
        return param.metavar or VALUE_NAMES.get(name, "TEXT")
    metavar = param.metavar or param.name.upper()
    return metavar if param.required or metavar.startswith("[") else f"[{metavar}]"


def _default(param: Any) -> str:
    """Return the default in words; a switch that is off has none to be told."""
    if param.required or param.default in (None, "", False) or callable(param.default):
        return ""
    return f"default `{param.opts[0] if param.default is True else param.default}`"


# -------------------------------------------------------------------------------------------- keys


def all_keys() -> str:
    """Return every setting of recipes, studies and searches."""
    parts: dict[str, list[Key]] = {}
    for key in keys():
        part, _, rest = key.path.partition(".")
        parts.setdefault(f"`{part}`" if rest else "All of a recipe", []).append(key)
    for title, config in (("A study", Study), ("A row of a study", StudyRow), ("A search", Search)):
        names = f"{title.partition(' ')[2]}: "
        parts[title] = [Key(f"{names}{name}", "", *rest) for name, *rest in settings(config)]
    for name, kinds in kinds_beside_recipes():
        parts[f"A {name}"] = list(_keys_of_kinds(name, kinds))
    return "".join(f"\n\n## {title}\n\n{_describe_keys(part)}" for title, part in parts.items())


def kinds_beside_recipes() -> Iterator[tuple[str, dict[str, type[Config]]]]:
    """Yield the name and the kinds of each part that no recipe has, but a study or a search."""
    for family in Family.__subclasses__():
        if not family.in_recipe:  # TrialSamplerConfig: trial sampler
            words = re.findall("[A-Z][a-z]+", family.__name__.removesuffix("Config"))
            yield " ".join(words).lower(), dict(family.kinds())
    dimensions = get_args(get_args(AnyDimension)[0])
    yield "dimension", {kind.model_fields["kind"].default: kind for kind in dimensions}


def _keys_of_kinds(name: str, kinds: dict[str, type[Config]]) -> Iterator[Key]:
    what = [f"{kind}: {inspect.getdoc(config)}".splitlines()[0] for kind, config in kinds.items()]
    yield Key(f"{name}: kind", "", " ".join(what), "", " | ".join(kinds))
    for kind, config in kinds.items():
        for setting, *rest in settings(config):
            yield Key(f"{name}: {setting}", kind, *rest)


def _describe_keys(part: list[Key]) -> str:
    """Return an entry for each key; one that several kinds have alike is described once."""
    alike: dict[tuple[str, str, str], list[Key]] = {}
    for key in part:
        alike.setdefault((key.path, key.meaning, key.allowed_values), []).append(key)
    paths = [path for path, *_ in alike]
    return "\n\n".join(_describe_key(same, paths.count(same[0].path)) for same in alike.values())


def _describe_key(same: list[Key], entries: int) -> str:
    """Return the entry of a key, which may be one of several of its path."""
    path, _, meaning, _, allowed_values = same[0]
    kinds = [key.kind for key in same if key.kind]
    defaults: dict[str, list[str]] = {}
    for key in same:
        defaults.setdefault(key.default, []).append(key.kind)
    texts = [
        f"`{value}`" + (f" ({', '.join(of)})" if len(defaults) > 1 else "")
        for value, of in defaults.items()
        if value
    ]
    facts = [
        f"Allowed: {escape(allowed_values)}",
        f"default: {', '.join(texts)}" if texts else "",
        f"of {escape(', '.join(kinds))}" if kinds and entries == 1 else "",
    ]
    signature = path if entries == 1 else f"{path} ({'; '.join(kinds)})"
    body = f"{escape(meaning)}\n\n{'; '.join(filter(None, facts))}."
    return f"```{{confval}} {signature}\n{body}\n```"


def settings(config: type[Config]) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, meaning, default and allowed values of a part's own settings."""
    for name, field in config.model_fields.items():
        if field.description or name != "kind":
            required = field.is_required()
            default = "" if required else format_default(field.get_default())
            yield name, field.description or "", default, describe(field)


# --------------------------------------------------------------------------------------------- API


def api() -> str:
    """Return the public names, grouped as they are used; autodoc describes them."""
    groups: dict[str, list[str]] = {
        "Functions": [],
        "What they return": [],
        "Definitions": [],
        "Parts of your own": [],
    }
    for name in cifarlab.__all__:
        groups[_group(getattr(cifarlab, name))].append(name)
    text = ""
    for title, names in groups.items():
        text += f"\n\n## {title}\n\n```{{eval-rst}}\n"
        for name in names:
            is_class = inspect.isclass(getattr(cifarlab, name))
            text += f".. auto{'class' if is_class else 'function'}:: cifarlab.{name}\n"
            text += "   :members:\n\n" if is_class else "\n"
        text += "```"
    return text


def _group(thing: Any) -> str:
    if not inspect.isclass(thing):
        return "Functions"
    if thing.__module__.startswith("cifarlab.api"):
        return "What they return"
    is_part = issubclass(thing, Family) or thing.__name__ in ("Arrays", "Callback")
    return "Parts of your own" if is_part else "Definitions"


def add_settings(
    app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]
) -> None:
    """Add to the docstring of a class of settings what each of them is."""
    if not (_has_settings(thing) and any(settings(thing))):
        return
    lines += ["Settings:", ""]
    for setting, meaning, *_ in settings(thing):
        lines.append(f"- ``{setting}``: " + re.sub(r"([*`|_])", r"\\\1", meaning))


def show_signature(
    app: Any, what: str, name: str, thing: Any, options: Any, signature: str, result: str
) -> tuple[str, str | None] | None:
    """Leave out the signature of a class of settings, which are listed; write paths as text."""
    if _has_settings(thing):
        return "", None
    return (re.sub(r"\w*Path\(('.*?')\)", r"\1", signature), result) if signature else None


def _has_settings(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, Config)


def find_public_name(app: Any, env: Any, node: Any, content: Any) -> Any:
    """Return the link to a public class of ours that a type calls by its module's name."""
    module, _, name = node.get("reftarget", "").rpartition(".")
    if name not in cifarlab.__all__ or module == "cifarlab":
        return None
    python = env.get_domain("py")
    arguments = (env, node["refdoc"], app.builder, "obj", f"cifarlab.{name}", node, content)
    return python.resolve_xref(*arguments)


def escape(text: str) -> str:
    """Return a plain text as Markdown that shows it, with links to the pages that it names."""
    shown = re.sub(r"([\\`*_{}\[\]<>#|~$@])", r"\\\1", text)
    shown = re.sub(r"(--[a-z][a-z-]*)", r"`\1`", shown)
    return re.sub(r"docs/([\w-]+)\.md", r"[\1](\1.md)", shown)
