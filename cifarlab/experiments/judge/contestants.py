"""Who races: the two recipes, found by their names and refused where there is nothing to judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cifarlab.config.plugins import Plugin
from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.claims import CANDIDATE, INCUMBENT, Claim
from cifarlab.recipes.catalog import find
from cifarlab.recipes.scale import scale_recipe
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint_row, from_text, to_yaml
from cifarlab.report.settings import distinct_names
from cifarlab.system.errors import UserError

# settings of data that decide on which images accuracy is measured; the latter of val alone
_IMAGES = ("source", "label_mode", "test_fraction", "split_seed")
_VAL_IMAGES = ("val_fraction", "fold")


class Contestants(NamedTuple):
    """The two recipes by side; names, which say in what they differ, and fingerprints by key."""

    recipes: dict[str, Recipe]
    names: dict[str, str]
    fingerprints: dict[str, str]

    @property
    def texts(self) -> dict[str, str]:
        """Return the recipes as YAML, by side."""
        return {side: to_yaml(recipe) for side, recipe in self.recipes.items()}


def find_incumbent(
    name: Recipe | str, book: RecordBook, plugins: Sequence[Plugin], scale: float
) -> Recipe:
    """Return the recipe of an accepted claim as it is, or another one at a scale.

    Args:
        name: a record's or a recipe's, or a recipe
        book: the record book
        plugins: loaded ones, for a recipe
        scale: fraction of the training images and epochs; a record had its own

    Raises:
        UserError: the claim of this name was not accepted
        RecipeError: there is no such record and no such recipe
        PluginError: a plug-in of the recipe is missing, not approved or fails
    """
    if isinstance(name, Recipe):
        return scale_recipe(name, scale)
    entry = book.find(name)
    if entry is None or not isinstance(entry.race, Claim):
        return scale_recipe(find(name, plugins), scale)
    if entry.state != "accepted":
        what = f"{name} is no record: its claim is {entry.state}"
        raise UserError(what, "'cifarlab records' lists all; name a record or a recipe")
    return recorded_recipes(entry.race, book.runs)[CANDIDATE]


def recorded_recipes(claim: Claim, runs: Path) -> dict[str, Recipe]:
    """Return the recipes of a claim by side; plug-ins are copied in the folder of its race.

    Raises:
        RecipeError: a recipe in the book is damaged
        PluginError: a plug-in is missing, not approved or fails
    """
    folder = runs / claim.folder
    folder = folder if folder.exists() else Path()
    where = f"{claim.name} in {runs}"
    return {side: from_text(text, where, folder) for side, text in claim.recipes.items()}


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
    if not is_open:  # then nothing is gained by opening one
        recipes = {s: change(recipe, {"evaluation.test": False}) for s, recipe in recipes.items()}
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
