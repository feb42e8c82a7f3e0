"""The records that ship with cifarlab: a recipe, and what its runs reached on which machine."""

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cifarlab.config.base import Config
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, read_yaml

_FILE = Path(__file__).with_name("shipped") / "records.yaml"


class ShippedRecord(Config):
    """A record: a value of each run, seeds from 0 on."""

    recipe: str = Field(description="a shipped recipe's name")
    overrides: dict[str, str | int | float | bool] = Field({}, description="what was changed of it")
    data: str = Field(description="what it was measured on")
    split: Literal["test", "val"] = Field("test", description="on which part of that")
    accuracy: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        min_length=2, description="0 to 1"
    )
    seconds: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        min_length=2, description="of training"
    )
    device: str = Field(description="the machine, as the run's provenance calls it")
    threads: int = Field(ge=1, description="with how many it was measured")
    precision: Literal["float32", "bfloat16"] = Field(description="of its arithmetic")
    note: str = Field("", description="what else a reader should know")

    def find_recipe(self) -> Recipe:
        """Return what was trained."""
        return change(find(self.recipe), self.overrides)


@cache
def shipped_records() -> dict[str, ShippedRecord]:
    """Return all shipped records by name."""
    tree = read_yaml(_FILE, "records")
    return {name: ShippedRecord.model_validate(entry) for name, entry in tree.items()}


def find_shipped_record(name: str) -> ShippedRecord | None:
    """Return the shipped record of this name."""
    return shipped_records().get(name)
