"""A search space over a recipe's own keys: the values of each key, and when it is drawn.

    optimizer.kind: {kind: choice, values: [sgd, adam]}
    optimizer.lr: {kind: loguniform, low: 1e-4, high: 1e-2}
    optimizer.momentum: {kind: uniform, low: 0.8, high: 0.99, when: {optimizer.kind: sgd}}
    augment: {kind: choice, values: {off: {}, on: {flip: random}}}

A key with ``when`` is drawn only where the named keys have the named values; elsewhere it keeps
the recipe's.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import yaml
from pydantic import Field, model_validator

from cifarlab.config.base import Config, PositiveFloat
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.run_data import dig
from cifarlab.system.formatting import NOTHING

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Params = dict[str, Any]  # drawn values by key; of a choice, their labels
MAX_VALUES = 1000  # of a choice; each is tried on the recipe before the first trial
_GOLDEN_RATIO = 0.618  # where a range is tried between its ends: hardly an integer


class Dimension(Config):
    """Base of all kinds of dimensions."""

    kind: str
    when: dict[str, Any] = Field(
        {}, description="drawn only where these keys have these values (one, or a list of several)"
    )

    @property
    def conditions(self) -> dict[str, tuple[Any, ...]]:
        """Return the allowed values by key."""
        return {
            key: tuple(value) if isinstance(value, list | tuple) else (value,)
            for key, value in self.when.items()
        }

    def setting(self, value: Any) -> Any:
        """Return the recipe's value for a drawn one."""
        return value

    def meets(self, value: Any, allowed_values: Sequence[Any]) -> bool:
        """Return whether a drawn value is one of a condition's values."""
        return value in allowed_values or self.setting(value) in allowed_values


class Choice(Dimension):
    """One of several values; a mapping gives them names, under which they are shown."""

    kind: Literal["choice"] = "choice"
    values: dict[str, Any] | tuple[Any, ...] = Field(
        min_length=1, max_length=MAX_VALUES, description="the values, or the values by name"
    )

    @cached_property
    def labeled_values(self) -> dict[str, Any]:
        """Return the values by the label under which they are drawn and shown."""
        if isinstance(self.values, dict):
            return self.values
        labels = [format_value(value) for value in self.values]
        counts = Counter(labels)
        # numbers that are equal in their first digits are shown with all digits
        return {
            repr(value) if counts[label] > 1 else label: value
            for label, value in zip(labels, self.values, strict=True)
        }

    @model_validator(mode="after")
    def _differ(self) -> "Choice":
        if len(self.labeled_values) < len(self.values):
            raise ValueError("a value is given twice: keep one of them")
        return self

    def setting(self, value: Any) -> Any:
        """Return the value with this label."""
        return self.labeled_values[value]

    @property
    def ends(self) -> list[tuple[float, str]]:
        """Return the positions that an axis names, and their names."""
        return [(self.position(label), label) for label in self.labeled_values]

    def position(self, value: Any) -> float:
        """Return the position of a value on an axis, 0 to 1."""
        return list(self.labeled_values).index(value) / max(1, len(self.labeled_values) - 1)

    def suggest(self, key: str, trial: "BaseTrial") -> str:
        """Draw a label, all with the same probability."""
        return str(trial.suggest_categorical(key, list(self.labeled_values)))

    def probes(self) -> list[str]:
        """Return every label."""
        return list(self.labeled_values)


class _Range(Dimension):
    """Base of the ranges of numbers."""

    low: float = Field(description="smallest value")
    high: float = Field(description="largest value")

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high {self.high:g}: low must be below high")
        return self

    @property
    def ends(self) -> list[tuple[float, str]]:
        """Return the positions that an axis names, and their names."""
        return [(0.0, f"{self.low:g}"), (1.0, f"{self.high:g}")]

    def position(self, value: float) -> float:
        """Return the position of a value on an axis, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def suggest(self, key: str, trial: "BaseTrial") -> float:
        """Draw a number of the range."""
        return trial.suggest_float(key, self.low, self.high, log=self.kind == "loguniform")

    def probes(self) -> list[float]:
        """Return both ends, and a number between them that is hardly an integer."""
        return [self.low, self.high, self.low + _GOLDEN_RATIO * (self.high - self.low)]


class Uniform(_Range):
    """A number, uniformly distributed."""

    kind: Literal["uniform"] = "uniform"


class LogUniform(_Range):
    """A number above 0, its logarithm uniformly distributed."""

    kind: Literal["loguniform"] = "loguniform"
    low: PositiveFloat = Field(description="smallest value, above 0")
    high: PositiveFloat = Field(description="largest value")

    def position(self, value: float) -> float:
        """Return the position of a value on an axis, 0 to 1."""
        return math.log(value / self.low) / math.log(self.high / self.low)


class Integer(_Range):
    """An integer, uniformly distributed."""

    kind: Literal["int"] = "int"
    low: int = Field(description="smallest value")
    high: int = Field(description="largest value, included")

    def suggest(self, key: str, trial: "BaseTrial") -> int:
        """Draw an integer of the range."""
        return trial.suggest_int(key, self.low, self.high)

    def probes(self) -> list[float]:
        """Return both ends."""
        return [self.low, self.high]


AnyDimension = Annotated[Choice | Uniform | LogUniform | Integer, Field(discriminator="kind")]
Space = dict[str, AnyDimension]


def format_value(value: Any) -> str:
    """Return a value as a table and a figure write it."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.4g}"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).partition("\n...")[0].strip()


def format_params(params: Params, keys: Iterable[str]) -> list[str]:
    """Return a point's value of each key as text; a dash where it has none."""
    return [format_value(params[key]) if key in params else NOTHING for key in keys]


def sort_by_condition(space: Mapping[str, AnyDimension]) -> list[str]:
    """Return the keys, each behind those that its condition names.

    Raises:
        ValueError: the conditions form a circle
    """
    ordered: list[str] = []
    while remaining := [key for key in space if key not in ordered]:
        next_keys = [
            k for k in remaining if all(c in ordered or c not in space for c in space[k].when)
        ]
        if not next_keys:
            raise ValueError(f"the conditions of {', '.join(remaining)} go in a circle")
        ordered += next_keys
    return ordered


def is_active(space: Mapping[str, AnyDimension], key: str, params: Params, base: Recipe) -> bool:
    """Return whether a key is drawn.

    Args:
        space: the space
        key: one of its keys
        params: parameters drawn before it
        base: recipe with the values of keys that are not searched
    """
    return all(
        other in params and space[other].meets(params[other], allowed_values)
        if other in space
        else dig(base.model_dump(mode="json"), *other.split(".")) in allowed_values
        for other, allowed_values in space[key].conditions.items()
    )


def suggest_params(space: Mapping[str, AnyDimension], trial: "BaseTrial", base: Recipe) -> Params:
    """Draw a point of the space.

    Args:
        space: the space
        trial: Optuna's trial, which draws
        base: recipe with the values of keys that are not searched
    """
    params: Params = {}
    for key in sort_by_condition(space):
        if is_active(space, key, params, base):
            params[key] = space[key].suggest(key, trial)
    return params


def as_overrides(space: Mapping[str, AnyDimension], params: Params) -> dict[str, Any]:
    """Return the recipe's overrides for a point."""
    return {key: space[key].setting(value) for key, value in params.items()}
