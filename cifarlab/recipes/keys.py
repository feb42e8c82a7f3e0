"""All settings of a recipe with their meaning, default and allowed values, from the schema."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from cifarlab.config.base import Config
from cifarlab.config.family import Family
from cifarlab.recipes.schema import Recipe

_NEW_KIND = "changing it starts that part from the new kind's defaults"
_BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}


class Key(NamedTuple):
    """One setting; ``kind`` names the kind of part that has it, empty where all do.

    For a part inside a part it names both: "resnet, group".
    """

    path: str
    kind: str
    meaning: str
    default: str
    allowed_values: str


def config_of(annotation: Any) -> type[Config] | None:
    """Return the part's class where a field holds a part or a list of them, else None."""
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    configs = map(config_of, get_args(annotation))
    return next((config for config in configs if config), None)


def keys(default: Config | None = None, prefix: str = "", kind: str = "") -> Iterator[Key]:
    """Yield the settings in the schema's order.

    Args:
        default: the part whose settings are listed; without it, a whole recipe
        prefix: the part's own path, with a dot at its end
        kind: the kind that the part belongs to, empty for all
    """
    default = default or Recipe()
    for name, field in type(default).model_fields.items():
        path, value = f"{prefix}{name}", getattr(default, name)
        if name == "kind":
            continue
        if not isinstance(value, Config):
            yield Key(path, kind, field.description or "", format_default(value), describe(field))
            continue
        if not isinstance(value, Family):
            yield from keys(value, f"{path}.", kind)
            continue
        choices = value.family().kinds()
        if value.short_form:
            words = " | ".join((*choices, value.short_form))
            yield Key(path, kind, field.description or "", str(value), words)
        else:
            meaning = f"{field.description or f'which {name}'}; {_NEW_KIND}"
            yield Key(f"{path}.kind", kind, meaning, value.kind, " | ".join(choices))
        for tag, cls in choices.items():
            inner = f"{kind}, {tag}" if kind else tag
            part = value if tag == value.kind else cls.model_validate({})
            yield from keys(part, f"{path}.", inner)


def describe(field: FieldInfo) -> str:
    """Return the values that a field takes, in words."""
    text = _type(field.annotation)
    bounds = [
        f"{sign} {value}"
        for item in field.metadata
        for name, sign in _BOUNDS.items()
        if isinstance(value := getattr(item, name, None), int | float)
    ]
    value, null, _ = text.partition(" | null")
    return " ".join([value, *bounds]) + null


def _type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return describe(FieldInfo.from_annotation(annotation))
    if origin is Literal:
        return " | ".join(str(a) for a in args)
    if origin in (Union, UnionType):
        return " | ".join(_type(a) for a in args)
    if origin is tuple:
        inner = _type(args[0])
        return f"list of {inner}" if args[-1] is Ellipsis else f"list of {len(args)} {inner}"
    if origin is dict:
        return f"{{{_type(args[0])}: {_type(args[1])}}}"
    if (config := config_of(annotation)) and issubclass(config, Family):
        return f"{{kind: {' | '.join(config.family().kinds())}, its settings}}"
    if config:
        settings = (f"{n}: {describe(f)}" for n, f in config.model_fields.items())
        return f"{{{', '.join(settings)}}}"
    names = {str: "text", int: "integer", float: "number", bool: "true | false", NoneType: "null"}
    name: str = getattr(annotation, "noun", getattr(annotation, "__name__", str(annotation)))
    return names.get(annotation, name.lower())


def format_default(value: Any) -> str:
    """Return a default as a YAML file has it, on one line."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(format_default, value))}]"
    if isinstance(value, Config):
        return f"{{{', '.join(f'{name}: {format_default(item)}' for name, item in value)}}}"
    if value in (None, ""):
        return "null" if value is None else "''"
    return str(value).lower() if isinstance(value, bool) else str(value)
