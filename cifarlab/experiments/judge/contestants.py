"""Who races: the two recipes, found by their names and refused where there is nothing to judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cifarlab.config.plugins import Plugin
from cifarlab.experiments.judge.book import BookEntry, RecordBook
from cifarlab.experiments.judge.claims import CANDIDATE, INCUMBENT
from cifarlab.experiments.study.outcomes import fingerprint_row
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.report.settings import distinct_names
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import UserError

# settings of data that decide on which images accuracy is measured; the latter of val alone
_IMAGES = ("source", "label_mode", "test_fraction", "split_seed")
_VAL_IMAGES = ("val_fraction", "fold")


class Contestants(NamedTuple):
    """The two recipes by side; names, which say in what they differ, and fingerprints by key."""

    recipes: dict[str, Recipe]
    names: dict[str, str]
    fingerprints: dict[str, str]


def find_incumbent(name: Recipe | str, runs: Path, plugins: Sequence[Plugin] = ()) -> Recipe:
    """Return the recipe of an accepted claim, or of this name or YAML file.

    Args:
        name: a record's or a recipe's; a recipe as it is
        runs: folder of the runs and their record book
        plugins: loaded ones, for a recipe

    Raises:
        UserError: the claim of this name was not accepted
        RecipeError: there is no such record and no such recipe
        RunFolderError: the record's runs are gone
    """
    if isinstance(name, Recipe):
        return name
    if entry := RecordBook(runs).find(name):
        if entry.state != "accepted":
            what = f"{name} is no record: its claim is {entry.state}"
            raise UserError(what, "'cifarlab records' lists all; name a record or a recipe")
        return recorded_recipes(entry, runs)[CANDIDATE]
    return find(name, plugins)


def recorded_recipes(entry: BookEntry, runs: Path) -> dict[str, Recipe]:
    """Return the recipes of a claim from its first runs, by side.

    Raises:
        RunFolderError: these runs are gone
    """
    race = entry.race
    folders = {
        side: RunFolder(runs / race.folder / f"{side}-s{race.first_seed}")
        for side in (INCUMBENT, CANDIDATE)
    }
    return {side: folder.recipe() for side, folder in folders.items()}


def match_recipes(candidate: Recipe, incumbent: Recipe, goal: str) -> Contestants:
    """Return the two as contestants.

    Args:
        candidate: what is claimed to be better
        incumbent: than what
        goal: what is judged

    Raises:
        UserError: they are one recipe, or can't be compared
    """
    recipes = {INCUMBENT: incumbent, CANDIDATE: candidate}
    # whether the test split is opened changes nothing of a run, nor does its name
    with_test = (change(recipe, {"evaluation.test": True}) for recipe in recipes.values())
    if len({fingerprint_row(recipe) for recipe in with_test}) == 1:
        is_seed = candidate.seed != incumbent.seed
        how = "differ in their seed alone" if is_seed else "are the same recipe"
        raise UserError(
            f"{candidate.name} and {incumbent.name} {how}: there is nothing to judge",
            "change a setting that decides something, e.g. optimizer.lr=0.05",
        )
    is_open = all(recipe.evaluation.test for recipe in recipes.values())
    for name in _IMAGES if is_open else (*_IMAGES, *_VAL_IMAGES):
        ours, theirs = (getattr(recipe.data, name) for recipe in (candidate, incumbent))
        if ours != theirs:
            raise UserError(
                f"data.{name} is {ours} for the candidate and {theirs} for the incumbent: they "
                "would be judged on other images",
                f"give both the same data.{name}",
            )
    if not is_open and incumbent.data.val_fraction == 0:
        raise UserError(
            "there are no images to judge by: test is closed, and data.val_fraction is 0",
            "hold images out (data.val_fraction=0.1), or open the test split in both recipes",
        )
    for side, recipe in recipes.items():
        if recipe.training.max_time:
            raise UserError(
                f"the {side} has training.max_time: the machine's speed decides what it learns",
                "give it a training.duration alone",
            )
    precisions = {side: recipe.training.precision for side, recipe in recipes.items()}
    if goal == "time-to-accuracy" and len(set(precisions.values())) > 1:
        raise UserError(
            f"training.precision differs ({', '.join(precisions.values())}): seconds are compared "
            "at equal precision alone",
            "give both the same, or judge by --goal accuracy",
        )
    labels = distinct_names([r.name for r in recipes.values()], [*recipes.values()], [*recipes])
    fingerprints = {f"{side}_fingerprint": fingerprint_row(r) for side, r in recipes.items()}
    return Contestants(recipes, dict(zip(recipes, labels, strict=True)), fingerprints)
