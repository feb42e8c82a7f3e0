"""Runs grouped by recipe: the seeds of a recipe on the same images, with means over them."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cifarlab.report.settings import distinct_names
from cifarlab.run_folder.index import Entry, RunIndex

_MAX_RECIPES = 50  # of one name, as of a search's trials: their settings would say too little


class RecipeGroup(NamedTuple):
    """The runs of one recipe on the same images.

    ``seeds`` are those that count: finished, the first of each seed, since others repeat the same
    random draws. ``n_left_out`` are unfinished, or something ended them early.
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
    by_seed: dict[int | None, Entry] = {}
    n_left_out = 0
    for entry in members:
        if entry.is_finished and not entry.early_end:
            by_seed.setdefault(entry.seed, entry)
        else:
            n_left_out += 1
    return RecipeGroup(key, members, [*by_seed.values()], n_left_out)


def summarize(values: Iterable[float | None]) -> SeedSummary | None:
    """Return the summary of the values that are known, None where none is."""
    known_values = [value for value in values if value is not None]
    if not known_values:
        return None
    std = statistics.stdev(known_values) if len(known_values) > 1 else None
    mean = statistics.fmean(known_values)
    return SeedSummary(len(known_values), mean, std, min(known_values), max(known_values))


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
    recipes = index.recipes(runs)
    runs = [run for run in runs if recipes[run.digest]]
    names = distinct_names(
        [run.recipe for run in runs],
        [recipes[run.digest] for run in runs],
        [run.name for run in runs],
    )
    return dict(zip([run.group for run in runs], names, strict=True))
