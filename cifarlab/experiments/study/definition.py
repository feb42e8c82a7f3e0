"""What a study is: recipes beside each other, one of them the baseline, each over several seeds.

A row is a recipe's name and what is changed of it, so that a study says just what it compares.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from cifarlab.config.base import Config, Name
from cifarlab.config.plugins import Plugin
from cifarlab.metrics.kinds import Accuracy, Metric, MetricConfig
from cifarlab.recipes.catalog import Reported as Reported
from cifarlab.recipes.catalog import find_named, find_shipped, shipped_recipes
from cifarlab.recipes.refusals import short_repr
from cifarlab.recipes.schema import MAX_SEED, Recipe
from cifarlab.recipes.text import (
    apply_overrides,
    change,
    find_file,
    list_shipped,
    read_named,
    validate_config,
)
from cifarlab.system.errors import RecipeError, UserError
from cifarlab.training.callbacks import WatchedConfig

SPLIT_NAMES = {"test": "test", "val": "validation"}  # as texts call them


class StudyRow(Config):
    """One line of the table: a recipe with changes."""

    name: Name = Field(description="as the table and the run folders call it")
    recipe: str = Field(min_length=1, description="a shipped recipe's name or a YAML file")
    overrides: dict[str, Any] = Field({}, description="settings by dotted path")
    reported: Reported | None = Field(None, description="a report's number for it")


class Study(WatchedConfig):
    """Rows and seeds; ``overrides`` are applied to every row, after its own."""

    name: Name = Field(description="names the study's folder")
    about: str = Field("", description="the question, in a sentence")
    baseline: str | None = Field(
        None, description="the row that the others are compared with; null: the first"
    )
    metric: Metric = Field(Accuracy(), description="what the rows are compared by")
    n_seeds: int = Field(
        3, ge=1, le=1000, description="runs per row, with seeds from first_seed on"
    )
    first_seed: int = Field(0, ge=0, le=MAX_SEED, description="the first of its seeds")
    overrides: dict[str, Any] = Field({}, description="settings by dotted path, for all rows")
    rows: tuple[StudyRow, ...] = Field(min_length=1, description="what is compared")

    @model_validator(mode="after")
    def _is_sound(self) -> "Study":
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError(f"two rows are called {Counter(names).most_common(1)[0][0]}")
        if self.baseline not in (None, *names):
            raise ValueError(f"baseline: {self.baseline!r} is no row; rows: {', '.join(names)}")
        if self.first_seed + self.n_seeds - 1 > MAX_SEED:
            raise ValueError(f"{self.n_seeds} seeds from first_seed on go beyond {MAX_SEED}")
        return self

    @property
    def baseline_name(self) -> str:
        """The baseline row's name."""
        return self.baseline or self.rows[0].name

    @property
    def reported(self) -> dict[str, Reported]:
        """The reports' numbers by row."""
        return {row.name: row.reported for row in self.rows if row.reported}

    def recipes(self) -> dict[str, Recipe]:
        """Each row's recipe by the row's name, which it carries. Raises RecipeError."""
        recipes = {}
        for row in self.rows:
            where = f"study {self.name}, row {row.name}"
            base = find_named(row.recipe, self.plugins, where)
            changed = change(base, {**row.overrides, "name": row.name}, where)
            recipes[row.name] = change(changed, self.overrides, where)
        return recipes

    def select_rows(self, pattern: str | None) -> list[str]:
        """Rows whose names match a shell pattern, and the baseline. Raises UserError for none."""
        names = [row.name for row in self.rows]
        matching = [name for name in names if pattern is None or fnmatchcase(name, pattern)]
        if not matching:
            raise UserError(
                f"no row of {self.name} matches {pattern!r}", f"its rows: {', '.join(names)}"
            )
        return [name for name in names if name in (self.baseline_name, *matching)]


def parse_metric(text: str) -> MetricConfig:
    """Return the metric that a command line names, or gives as YAML. Raises RecipeError."""
    metric: MetricConfig = apply_overrides(
        Recipe(), [f"evaluation.metric={text}"]
    ).evaluation.metric
    return metric


def shipped_studies() -> dict[str, Path]:
    """The files of the studies that come with cifarlab, by name."""
    return list_shipped(__file__)


def find_study(name: str, plugins: Sequence[Plugin] = ()) -> Study:
    """The shipped study called ``name``, or the one in the YAML file of that path.

    ``plugins``, which are loaded, are added to its own. Raises RecipeError, with the nearest
    shipped name, and PluginError.
    """
    path = shipped_studies().get(name) or find_file("study", "studies", name, shipped_studies)
    tree = read_named(path, "study", plugins)
    if isinstance(tree, Mapping) and isinstance(tree.get("rows"), list):
        rows = _write_out(tree["rows"], str(path))
        tree = {**tree, "rows": rows if tree.get("overrides") else [*map(_with_number, rows)]}
    return validate_config(Study, tree, str(path), "see docs/studies.md for what a study holds")


def _write_out(rows: list[Any], where: str) -> list[Any]:
    """Rows with those of shipped recipes in the place of a pattern. Raises RecipeError."""
    written: list[Any] = []
    for row in rows:
        if not isinstance(row, str):
            written.append(row)
            continue
        names = [name for name in shipped_recipes() if fnmatchcase(name, row.removeprefix("!"))]
        if not names:
            raise RecipeError(
                f"{where}: no shipped recipe is called like {short_repr(row)}",
                "'cifarlab recipes list' lists all; a row of your own is a mapping",
            )
        matching = [{"name": name.rpartition("/")[2], "recipe": name} for name in names]
        if row.startswith("!"):
            written = [row for row in written if row not in matching]
        else:
            written += matching
    return written


def _with_number(row: Any) -> Any:
    """A row of plain values with its report's number, where it is a shipped recipe as it is."""
    if not isinstance(row, Mapping) or row.get("overrides") or "reported" in row:
        return row
    shipped = find_shipped(str(row.get("recipe")))
    number = shipped and shipped.reported
    return {**row, "reported": number.model_dump()} if number else row
