"""Schemas of a run's JSON files: the keys that are read; a file may have more."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import Check

Count = Annotated[int, Field(ge=0, le=10**12)]
Numbers = dict[str, float | None]  # by name
FORMAT = 1  # of all folders; raised where a name of a file or a key changes


class StoredModel(BaseModel):
    """Base of all: a missing key takes its default, and a text is no number."""

    model_config = ConfigDict(strict=True)


class MetricsLine(StoredModel):
    """One epoch; see run_folder/metrics_log.py."""

    epoch: Count
    step: Count | None = None
    lr: float | None = None
    train: Numbers | None = None
    val: Numbers | None = None
    cost: Numbers | None = None


class Histogram(StoredModel):
    """A layer's values in one epoch; with ``counts`` it has finite ends."""

    low: float | None = None
    high: float | None = None
    counts: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = None
    grad_norm: float | None = None
    dead: tuple[Count, Count] | None = Field(None, strict=False)


class TensorStatsLine(StoredModel):
    """One epoch of the tensor stats; see training/tensor_stats.py."""

    epoch: Count
    images: Count | None = None
    grad_norm: float | None = None
    weights: dict[str, Histogram | None] = Field({})
    activations: dict[str, Histogram | None] = Field({})


class Format(StoredModel):
    """The format of a folder of cifarlab: a run's, a study's, a search's or an audit's."""

    format: Count = 0


class DataFacts(StoredModel):
    """What data a run was trained on."""

    name: str | None = None
    fingerprint: str | None = None


class Provenance(StoredModel):
    """How a run was made; see training/provenance.py."""

    data: DataFacts = DataFacts()
    starts: list[dict[str, Any]] = Field([])
    test_openings: list[dict[str, Any]] = Field([])


class Result(StoredModel):
    """The end of a run; see training/finish.py. Reports show a dash for values of odd types."""

    fingerprint: str | None = None
    stop_reason: str | None = None
    temperature: dict[str, Any] | None = None


class LoggedIds(StoredModel):
    """The ids by which loggers know a run, by their kind."""

    ids: dict[str, Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]] = Field({})


@cache
def make_check(schema: type[BaseModel]) -> Check:
    """Return a function that returns plain values as they are.

    Raises:
        ValueError: raised by that function, where the values do not fit the schema
    """

    def check(tree: Any) -> Any:
        try:
            schema.model_validate(tree)
        except ValidationError as error:
            raise ValueError(_first(error)) from error
        return tree

    return check


def make_folder_check(folder: Path, schema: type[BaseModel] = Format) -> Check:
    """Return a check of the file that says the format of a folder.

    Raises:
        RunFolderError: raised by that function, where another version wrote the folder
    """

    def check(tree: Any) -> Any:
        number = make_check(Format)(tree).get("format", 0)
        if number != FORMAT:
            age = "a newer" if number > FORMAT else "an older"
            raise RunFolderError(
                f"{folder} was written by {age} cifarlab: its format is "
                f"{number or 'not written down'}, this version reads {FORMAT}",
                "read it with the version that made it, or make it anew in another folder",
            )
        return make_check(schema)(tree)

    return check


def restore(kind: Any, tree: Any, what: str, hint: str) -> Any:
    """Return a typed value from plain values.

    Args:
        kind: the value's type
        tree: its plain values
        what: the start of the error's first line
        hint: its second line

    Raises:
        RunFolderError: the plain values do not fit the type
    """
    try:
        return TypeAdapter(kind).validate_python(tree)
    except ValidationError as error:
        raise RunFolderError(f"{what}: {_first(error)}", hint) from error


def as_json(value: Any) -> Any:
    """Return a value as JSON types, with named tuples and models as mappings.

    ``restore`` is the way back.
    """
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def _first(error: ValidationError) -> str:
    """Return the first of pydantic's findings in a line."""
    first = error.errors(include_input=False, include_url=False)[0]
    path = ".".join(map(str, first["loc"]))
    what = "it is no object" if first["type"] == "model_type" else first["msg"].lower()
    return f"{path}: {what}".lstrip(": ")
