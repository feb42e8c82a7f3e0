"""Runs grouped by recipe: the seeds of a recipe on the same images, with means over them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cifarlab.run_folder.index import Entry, RunIndex

_MAX_RECIPES = 50  # of one name, as of a search's trials: their settings would say too little


class RecipeGroup(NamedTuple):
    """The runs of one recipe on the same images.

    ``seeds`` are those that count: finished, and of several of one seed, which repeat the same
    random draws, the one that started first. That is decided before any result is known, and by
    no order of a list: whoever may choose among them chooses the best. ``n_left_out`` are all
    others: unfinished, ended early, or repeated.
    """

    key: str
    members: list[Entry]
    seeds: list[Entry]
    n_left_out: int


class SeedSummary(NamedTuple):
    """Mean, sample standard deviation and range of n values."""

    n: int
    mean: float
    std: float | None
    low: float
    high: float


def group_by_recipe(entries: Iterable[Entry]) -> list[RecipeGroup]:
    """Return the groups in the order of their first runs; damaged runs are in none."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if not entry.problem:
            groups.setdefault(entry.group, []).append(entry)
    return [_group(key, members) for key, members in groups.items()]


def _group(key: str, members: list[Entry]) -> RecipeGroup:
    complete_runs = [entry for entry in members if entry.is_finished and not entry.early_end]
    by_seed: dict[int | None, Entry] = {}
    for entry in sorted(complete_runs, key=lambda entry: (entry.start, entry.url_path)):
        by_seed.setdefault(entry.seed, entry)
    return RecipeGroup(key, members, [*by_seed.values()], len(members) - len(by_seed))


def summarize(values: Iterable[float | None]) -> SeedSummary | None:
    """Return the summary of the values that are known, None where none is."""
    known_values = [value for value in values if value is not None]
    if not known_values:
        return None
    n, mean = len(known_values), math.fsum(known_values) / len(known_values)
    offsets = [value - known_values[0] for value in known_values]  # of equal values the std is 0
    center = math.fsum(offsets) / n
    squares = math.fsum((offset - center) ** 2 for offset in offsets)  # statistics.stdev: 20 x
    std = math.sqrt(squares / (n - 1)) if n > 1 else None
    return SeedSummary(n, mean, std, min(known_values), max(known_values))


def rank(test: float | None, val: float | None, name: str) -> tuple[Any, ...]:
    """Return what recipes are sorted by: the best first, by val only those without a test accuracy.

    Args:
        test: the mean test accuracy, if there is one
        val: that on val
        name: the recipe's
    """
    return test is None, -(test or 0), val is None, -(val or 0), name


def name_groups(index: RunIndex, runs: Iterable[Entry]) -> dict[str, str]:
    """Return each group's name: the recipe's, with its settings where others have that name."""
    firsts: dict[str, Entry] = {}
    for run in runs:
        if not run.problem:
            firsts.setdefault(run.group, run)
    n_groups = Counter(run.recipe for run in firsts.values())
    same_names = [run for run in firsts.values() if 1 < n_groups[run.recipe] <= _MAX_RECIPES]
    names = {
        group: run.recipe if n_groups[run.recipe] == 1 else f"{run.recipe} {run.name}"
        for group, run in firsts.items()
    }
    return names | _name_by_settings(index, same_names)


def _name_by_settings(index: RunIndex, runs: Sequence[Entry]) -> dict[str, str]:
    if not runs:
        return {}
    from cifarlab.report.settings import distinct_names  # with all that a recipe consists of

    recipes = index.recipes(runs)
    runs = [run for run in runs if recipes[run.digest]]
    names = distinct_names(
        [run.recipe for run in runs],
        [recipes[run.digest] for run in runs],
        [run.name for run in runs],
    )
    return dict(zip([run.group for run in runs], names, strict=True))
