"""The definition of a search: a recipe, a space over its keys, how many trials, and how long.

``validate_space`` tries every key and every value that the space can reach on the recipe's own
schema, before the first trial.
"""

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializeAsAny, model_validator

from cifarlab.config.base import Name
from cifarlab.config.duration import Duration
from cifarlab.config.plugins import Plugin
from cifarlab.experiments.search import space as spaces
from cifarlab.experiments.search.samplers import RandomSampler, TrialSamplerConfig
from cifarlab.experiments.search.schedulers import ASHA, Epochs, TrialSchedulerConfig
from cifarlab.metrics.kinds import Metric
from cifarlab.recipes.catalog import find_named
from cifarlab.recipes.named import find_config
from cifarlab.recipes.scale import scale_recipe
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, list_shipped, validate_config
from cifarlab.system.errors import RecipeError
from cifarlab.training.callbacks import CallbacksConfig

_MAX_CONTEXTS = 10_000  # of one key; each is tried on the recipe's schema
# trials are compared on the former; the search itself decides the latter
_FIXED_PREFIXES = ("name.", "data.", "evaluation.")
_SEARCH_KEYS = ("training.duration", "training.extensions", "training.max_time")
_SEARCHABLE_PREFIXES = ("data.normalization", "data.label_noise", "data.train_subset_fraction")


class Search(CallbacksConfig):
    """A search; a trial is the recipe with ``overrides`` and parameters drawn from the space."""

    name: Name = Field(description="names the search's folder")
    about: str = Field("", description="the question, in a sentence")
    recipe: str = Field(min_length=1, description="a shipped recipe's name or a YAML file")
    overrides: dict[str, Any] = Field({}, description="settings by dotted path, for all trials")
    metric: Metric | None = Field(
        None, description="what trials are compared by; null: the recipe's evaluation.metric"
    )
    trials: int = Field(30, ge=1, description="how many")
    max_epochs: Epochs = Field(
        Duration.parse("30 epochs"), description="the longest that a trial runs"
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="decides what is drawn, not the training")
    sampler: SerializeAsAny[TrialSamplerConfig] = Field(
        RandomSampler(), description="how trials are drawn"
    )
    scheduler: SerializeAsAny[TrialSchedulerConfig] = Field(
        ASHA(), description="which trials end early, and when"
    )
    space: spaces.Space = Field(min_length=1, description="what is searched, by the recipe's keys")

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        spaces.sort_by_condition(self.space)
        for key in self.space:
            # a part such as training contains the keys below it
            is_fixed = f"{key}.".startswith(_FIXED_PREFIXES)
            is_fixed &= not key.startswith(_SEARCHABLE_PREFIXES)
            if is_fixed or any(f"{name}.".startswith(f"{key}.") for name in _SEARCH_KEYS):
                reason = "trials would not be comparable" if is_fixed else "the search decides it"
                raise ValueError(f"space: {key} can't be searched: {reason}")
        return self

    def base_recipe(self, data: str | None = None) -> Recipe:
        """Return the recipe before anything is drawn.

        Raises:
            RecipeError: the recipe or an override is not valid, or it has no validation split
        """
        where = f"search {self.name}"
        fixed: dict[str, Any] = {"training.duration": str(self.max_epochs)}
        if self.metric:
            fixed |= {"evaluation.metric": self.metric.model_dump(mode="json")}
        recipe = change(find_named(self.recipe, self.plugins, where), self.overrides, where)
        recipe = change(recipe, fixed | ({} if data is None else {"data.source": data}), where)
        if not recipe.data.val_fraction:
            raise RecipeError(
                f"{where}: the recipe holds nothing out, so nothing can decide between trials",
                "set data.val_fraction above 0 in overrides",
            )
        return recipe

    def trial_recipe(self, params: spaces.Params, base: Recipe, scale: float = 1.0) -> Recipe:
        """Return the recipe of a trial.

        Args:
            params: parameters drawn from the space
            base: the recipe that they change
            scale: see recipes.scale

        Raises:
            RecipeError: the parameters don't belong to this search, or contradict each other
        """
        where = f"search {self.name}"
        try:
            overrides = spaces.as_overrides(self.space, params)
        except (KeyError, TypeError) as error:  # a record of another search, or a damaged one
            what = f"{where}: its space has no {error}, which its record has drawn"
            raise RecipeError(what, "restore search.jsonl, or search anew elsewhere") from error
        return scale_recipe(change(base, overrides, where), scale)

    def rungs(self, scale: float = 1.0) -> list[int]:
        """Return the epochs at which trials may be stopped, ascending."""
        epochs = self.epochs(scale)
        return [rung for rung in self.scheduler.rungs(epochs, scale) if rung < epochs]

    def epochs(self, scale: float = 1.0) -> int:
        """Return the epochs of a complete trial; at a scale the last one may be shorter."""
        return max(1, math.ceil(float(self.max_epochs.value) * scale - 1e-9))


def validate_space(search: Search, base: Recipe) -> None:
    """Try every key with every value (of a range: its ends) on the recipe's schema.

    A key with a condition is tried under each combination of values that meets it.

    Args:
        search: the search
        base: its recipe

    Raises:
        RecipeError: a key or value is not valid; with the allowed values and the nearest match
    """
    for key in spaces.sort_by_condition(search.space):
        for other in search.space[key].when:
            _require_valid_condition(search, base, key, other)
        if not (contexts := _contexts(search, key, base)):
            raise RecipeError(
                f"search {search.name}, {key}: its condition is never met",
                f"when: {search.space[key].when}: take values that these keys can have",
            )
        for context, value in itertools.product(contexts, search.space[key].probes()):
            _try_value(search, base, key, value, context)


def _contexts(search: Search, key: str, base: Recipe) -> list[spaces.Params]:
    """Return the combinations of parameters drawn before ``key`` with which it is drawn.

    They are the searched kinds, and the keys in its condition.
    """
    space, conditions = search.space, search.space[key].conditions
    parents = {k for k in space if k != key and (k.endswith("kind") or k in conditions)}
    # and the keys in their conditions
    while more := {k for n in parents for k in space[n].when if k in space} - parents - {key}:
        parents |= more
    contexts: list[spaces.Params] = [{}]
    for parent in (k for k in spaces.sort_by_condition(space) if k in parents):
        dimension, values = space[parent], conditions.get(parent)
        draws = [
            {parent: v} for v in dimension.probes() if not values or dimension.meets(v, values)
        ]
        contexts = [
            context | draw
            for context in contexts
            for draw in (draws if spaces.is_active(space, parent, context, base) else [{}])
        ]
        if (count := len(contexts)) > _MAX_CONTEXTS:
            raise RecipeError(
                f"search {search.name}, {key}: it depends on {count:,} combinations of values",
                "name fewer values in its condition",
            )
    return [context for context in contexts if spaces.is_active(space, key, context, base)]


def _try_value(search: Search, base: Recipe, key: str, value: Any, context: spaces.Params) -> None:
    """Build the recipe with a value beside others. Raises RecipeError that names ``key``."""
    neighbours = f" beside {', '.join(f'{k}={v}' for k, v in context.items())}" if context else ""
    overrides = spaces.as_overrides(search.space, {**context, key: value})
    try:
        change(base, overrides, f"search {search.name}, {key}{neighbours}")
    except RecipeError as error:
        unknown = "unknown key" in error.what and context
        hint = f"draw it only where it exists, by when: {{{next(iter(context), '')}: ...}}; "
        raise RecipeError(error.what, (hint if unknown else "") + error.hint) from error


def _require_valid_condition(search: Search, base: Recipe, key: str, other: str) -> None:
    """Refuse a condition on a key that the recipe does not have, or that is not a choice."""
    where = f"search {search.name}, {key}.when"
    dimension = search.space.get(other)
    if dimension is None:
        change(base, {other: search.space[key].conditions[other][0]}, where)
    elif not isinstance(dimension, spaces.Choice):
        raise RecipeError(
            f"{where}: {other} is no choice", "a condition names keys that are chosen from values"
        )


def shipped_searches() -> dict[str, Path]:
    """Return the files of the shipped searches by name."""
    return list_shipped(__file__)


def find_search(name: Search | str, plugins: Sequence[Plugin] = ()) -> Search:
    """Return the shipped search with this name, or the one in this YAML file.

    ``plugins``, which are loaded, are added to its own.

    Raises:
        RecipeError: no search has this name (the nearest is suggested), or the file is not valid
        PluginError: a plug-in of the search can't be loaded
    """
    return find_config(Search, name, plugins, __file__, "searches")


def apply_options(search: Search, **options: Any) -> Search:
    """Return a search with the options of a command line.

    Args:
        search: the search
        **options: its keys ``trials`` and ``max_epochs``, and the kinds of ``sampler`` and
            ``scheduler``; None leaves the search's own value

    Raises:
        RecipeError: an option is not valid
    """
    tree = search.model_dump()
    for key, value in options.items():
        is_kind = isinstance(tree[key], dict)  # with settings, which the same kind keeps
        if value not in (None, tree[key]["kind"] if is_kind else tree[key]):
            tree[key] = {"kind": value} if is_kind else value
    return validate_config(Search, tree, f"search {search.name}", "see docs/searches.md")
