"""What all parts of a recipe share."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
Width = Annotated[int, Field(ge=1, le=2**16)]
# of a network's parameters: the groups of the optimizer
Role = Literal["matrices", "shortcuts", "norms", "biases", "head", "whitening"]
ROLES: tuple[Role, ...] = get_args(Role)

_MOST_NAME = 120  # bytes; a folder's name, which holds it and more, has 255


def _fits_a_folder(name: str) -> str:
    if len(name.encode()) > _MOST_NAME:
        raise ValueError(f"a name has at most {_MOST_NAME} bytes: a folder is called after it")
    return name


# no part begins with a dot: it would lead out of its folder, or be hidden
Name = Annotated[
    str,
    Field(min_length=1, pattern=r"^[\w+-][\w.+-]*(/[\w+-][\w.+-]*)*$"),
    AfterValidator(_fits_a_folder),
]


class Config(BaseModel):
    """Base of all parts of a recipe: frozen, no unknown keys, no NaN."""

    decides_nothing: ClassVar[frozenset[str]] = frozenset()  # settings left out of fingerprints

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )

    @model_validator(mode="before")
    @classmethod
    def _start_from_the_defaults(cls, tree: Any) -> Any:
        """Complete a part of which some keys are set by the default that its parent has for it.

        That default may differ from the class's: the airbench network's normalisation has no scale.
        """
        fields = cls.model_fields
        if isinstance(tree, BaseModel):
            return tree
        if not isinstance(tree, Mapping):
            raise PydanticCustomError("no_mapping", "it has keys", {"keys": list(fields)})
        for key in tree:
            if key not in fields:
                context = {"key": key, "keys": list(fields)}
                raise PydanticCustomError("unknown_key", "unknown key", context)
        return {name: fill_defaults(value, fields[name].default) for name, value in tree.items()}

    def scaled(self, scale: float) -> dict[str, Any]:
        """Return what counts epochs or steps without being a duration, in a run made shorter.

        That run has ``scale`` of the images and of the epochs, so ``scale**2`` of the steps.
        """
        return {}


def refuse_idle(config: Config, names: Iterable[str], requirement: str) -> None:
    """Refuse settings that differ from their default where these do nothing.

    Args:
        config: the part of a recipe that has the settings
        names: the settings that need the requirement
        requirement: what is missing for them to do something, in words

    Raises:
        ValueError: a setting of that name is not its default
    """
    fields = type(config).model_fields
    idle = [name for name in names if getattr(config, name) != fields[name].default]
    if idle:
        raise ValueError(
            f"{' and '.join(idle)} would do nothing without {requirement}: set that too, or leave "
            f"{' and '.join(idle)} out"
        )


def fill_defaults(tree: Any, default: Any) -> Any:
    """Return ``tree`` with what it leaves out of a part, at any depth, taken from ``default``.

    Only a mapping that completes a part of its own kind is changed: another kind has other keys.
    """
    if not (isinstance(tree, Mapping) and isinstance(default, Config)):
        return tree
    defaults = {name: getattr(default, name) for name in type(default).model_fields}
    if tree.get("kind", defaults.get("kind")) != defaults.get("kind"):
        return tree
    return defaults | {
        name: fill_defaults(value, defaults.get(name)) for name, value in tree.items()
    }
