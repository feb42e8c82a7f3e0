"""The definition of a study: recipes in rows, one of them the baseline, each over several seeds.

A row is a recipe's name and its overrides, so that a study says exactly what it compares.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from cifarlab.config.base import Config, Name, refuse_idle
from cifarlab.config.plugins import Plugin
from cifarlab.experiments.study.columns import Column
from cifarlab.metrics.kinds import Accuracy, Metric, MetricConfig
from cifarlab.recipes import text
from cifarlab.recipes.catalog import Reported, find_named, find_shipped, shipped_recipes
from cifarlab.recipes.named import find_config
from cifarlab.recipes.refusals import short_repr
from cifarlab.recipes.schema import MAX_SEED, Recipe
from cifarlab.stats.sequential import FIRST_LOOK, MAX_LOOK
from cifarlab.system.errors import RecipeError, UserError
from cifarlab.training.callbacks import CallbacksConfig

MAX_SEEDS = 1000  # runs per row


class StudyRow(Config):
    """A row of the table: a recipe with overrides."""

    name: Name = Field(description="as the table and the run folders call it")
    recipe: str = Field(min_length=1, description="a shipped recipe's name or a YAML file")
    overrides: dict[str, Any] = Field({}, description="settings by dotted path")
    reported: Reported | None = Field(None, description="a report's number for it")


class Study(CallbacksConfig):
    """Rows and seeds; ``overrides`` are applied to every row, after its own."""

    name: Name = Field(description="names the study's folder")
    about: str = Field("", description="the question, in a sentence")
    baseline: str | None = Field(
        None, description="the row that the others are compared with; null: the first"
    )
    metric: Metric = Field(Accuracy(), description="what the rows are compared by")
    columns: tuple[Column, ...] = Field(
        (), description="what the table says of each row besides, a mean over its seeds"
    )
    level: float = Field(
        0.8, gt=0, lt=1, description="the validation accuracy that epochs_to_level is about"
    )
    until: Literal["seeds", "decided"] = Field(
        "seeds", description="whether a row has n_seeds runs, or gets seeds until it is decided"
    )
    n_seeds: int = Field(
        3, ge=1, le=MAX_SEEDS, description="runs per row, seeds from first_seed on"
    )
    most: int = Field(
        10, ge=FIRST_LOOK, le=MAX_LOOK, description="runs per row at most, with until: decided"
    )
    margin: float | None = Field(
        None, gt=0, description="rows that differ by less are the same; points, where in per cent"
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
        if "epochs_to_level" not in self.columns:
            refuse_idle(self, ("level",), "epochs_to_level among the columns")
        if len(self.rows) == 1:
            refuse_idle(self, ("until", "margin"), "a second row")
        idle, until = ("n_seeds", "seeds") if self.until == "decided" else ("most", "decided")
        refuse_idle(self, (idle,), f"until: {until}")
        if self.first_seed + self.max_seeds - 1 > MAX_SEED:
            raise ValueError(f"{self.max_seeds} seeds from first_seed on go beyond {MAX_SEED}")
        return self

    @property
    def max_seeds(self) -> int:
        """Return the largest number of runs that a row can get."""
        return self.most if self.until == "decided" else self.n_seeds

    @property
    def baseline_name(self) -> str:
        """Return the baseline row's name."""
        return self.baseline or self.rows[0].name

    @property
    def reported(self) -> dict[str, Reported]:
        """Return the reports' numbers by row."""
        return {row.name: row.reported for row in self.rows if row.reported}

    def recipes(self, data: str | None = None) -> dict[str, Recipe]:
        """Return each row's recipe by the row's name, which is the recipe's name too.

        ``data`` is the ``data.source`` of all; None for the recipes' own.

        Raises:
            RecipeError: a recipe is unknown or an override is not valid
        """
        recipes, source = {}, {} if data is None else {"data.source": data}
        for row in self.rows:
            where = f"study {self.name}, row {row.name}"
            recipe = find_named(row.recipe, self.plugins, where)
            # one after the other: a key of the former may be of a part that the latter replaces
            for overrides in (row.overrides, self.overrides, {"name": row.name, **source}):
                recipe = text.change(recipe, overrides, where)
            recipes[row.name] = recipe
        return recipes

    def select_rows(self, pattern: str | None) -> list[str]:
        """Return the names of the rows that match a shell pattern, and the baseline's.

        Raises:
            UserError: no row matches
        """
        names = [row.name for row in self.rows]
        matching = [name for name in names if pattern is None or fnmatchcase(name, pattern)]
        if not matching:
            hint = f"its rows: {', '.join(names)}"
            raise UserError(f"no row of {self.name} matches {pattern!r}", hint)
        return [name for name in names if name in (self.baseline_name, *matching)]


def change_plan(study: Study, **options: Any) -> Study:
    """Return a study with another plan; what that plan has no use for goes back to its default.

    Args:
        study: the study
        **options: its keys ``until``, ``n_seeds``, ``most``, ``margin``, ``first_seed``; None
            leaves the study's own value

    Raises:
        RecipeError: an option is not valid, or would do nothing
    """
    changes = {name: value for name, value in options.items() if value is not None}
    until = changes.get("until", study.until)
    idle, option = ("n_seeds", "most") if until == "decided" else ("most", "n_seeds")
    if idle in changes:
        words = f"--{idle.replace('_', '-')} would do nothing with until: {until}"
        raise RecipeError(f"study {study.name}: {words}", f"say --{option.replace('_', '-')} N")
    changes[idle] = Study.model_fields[idle].default
    where = f"study {study.name}"
    hint = "--until is seeds or decided, --margin above 0, --most 3 to 100, --n-seeds 1 or more"
    return text.validate_config(Study, study.model_dump() | changes, where, hint)


def parse_metric(name: str, plugins: Iterable[Plugin] = ()) -> MetricConfig:
    """Return the metric that a command line names or writes as YAML; it may be of the plug-ins.

    Raises:
        RecipeError: the metric is unknown or a setting is not valid
        PluginError: two plug-ins have a metric of that name
    """
    recipe = text.apply_overrides(Recipe().add_plugins(plugins), [f"evaluation.metric={name}"])
    return recipe.evaluation.metric


def shipped_studies() -> dict[str, Path]:
    """Return the files of the shipped studies by name."""
    return text.list_shipped(__file__)


def find_study(name: Study | str, plugins: Sequence[Plugin] = ()) -> Study:
    """Return the shipped study with this name, or the one in this YAML file; a study as it is.

    ``plugins``, which are loaded, are added to its own.

    Raises:
        RecipeError: no study has this name (the nearest is suggested), or the file is not valid
        PluginError: a plug-in of the study can't be loaded
    """
    return find_config(Study, name, plugins, __file__, "studies", _complete_rows)


def _complete_rows(tree: Any, where: str) -> Any:
    """Return a study's plain values with a row for each recipe and its report's number."""
    if not isinstance(tree, Mapping) or not isinstance(tree.get("rows"), list):
        return tree
    rows = _expand_patterns(tree["rows"], where)
    return {**tree, "rows": rows if tree.get("overrides") else [*map(_add_reported, rows)]}


def _expand_patterns(rows: list[Any], where: str) -> list[Any]:
    """Return the rows with shipped recipes in place of each pattern. Raises RecipeError."""
    expanded: list[Any] = []
    for row in rows:
        if not isinstance(row, str):
            expanded.append(row)
            continue
        names = [name for name in shipped_recipes() if fnmatchcase(name, row.removeprefix("!"))]
        if not names:
            hint = "'cifarlab recipes list' lists all; a row of your own is a mapping"
            raise RecipeError(f"{where}: no shipped recipe is called like {short_repr(row)}", hint)
        matching = [{"name": name.rpartition("/")[2], "recipe": name} for name in names]
        if row.startswith("!"):
            expanded = [row for row in expanded if row not in matching]
        else:
            expanded += matching
    return expanded


def _add_reported(row: Any) -> Any:
    """Return a plain row with its report's number, if it is a shipped recipe without overrides."""
    if not isinstance(row, Mapping) or row.get("overrides") or "reported" in row:
        return row
    shipped = find_shipped(str(row.get("recipe")))
    number = shipped and shipped.reported
    return {**row, "reported": number.model_dump()} if number else row
