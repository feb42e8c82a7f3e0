"""What benchmarks/reproduce.py trains, and in which order."""

import fnmatch
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from _published import (
    publish_run,
    publish_search,
    published_fingerprints,
    recipe_names,
    run_target,
    search_target,
)
from _reports import SEARCH, search_names

from cifarlab.experiments.search.definition import Search, find_search
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.recipes.catalog import find, usual_images
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change, fingerprint, fingerprint_row, validate_config
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import folder_name

# kth2024's rows of 100 epochs
_SHORT = (
    *("kth2024/baseline", "kth2024/dropout", "kth2024/exchanged", "kth2024/batch-norm-only"),
    *("kth2024/augmentation", "kth2024/dropout-only", "kth2024/weight-decay"),
    "kth2024/weight-decay-percent",
)
# patterns of recipes or searches, and how many seeds of each; the most telling per hour first
ORDER = (
    ("asha2021/classic", 5),
    (f"{SEARCH}asha2021/classic", 1),
    ("kth2022/norm-*", 3),
    ("kth2022/combined-norm-*", 3),
    *((row, 1) for row in _SHORT),
    ("kth2022/all", 1),
    ("kth2024/exchanged-fast-statistics", 1),
    (f"{SEARCH}kth2024/*", 1),
    *((row, 3) for row in _SHORT),
    ("asha2021/classic-*", 3),
    (f"{SEARCH}asha2021/longer", 1),
    ("kth2024/combined", 1),
    ("kth2024/adamw", 1),
    ("kth2024/step-decay", 1),
    ("fudan/resnet10", 1),
    ("fudan/resnet24", 1),
    ("fudan/mixup", 1),
)
ORDER_ON_GPU = (
    ("fudan/mixup", 3),
    ("fudan/resnet24", 3),
    ("kth2022/resnet-deeper", 3),
    ("kth2022/resnet-cifar100", 3),
    ("nyu2024/resnet", 3),
    ("asha2021/resnet34-schedule", 3),
    (f"{SEARCH}asha2021/schedule", 1),
    (f"{SEARCH}asha2021/resnet", 1),
    ("kth2024/*", 1),
)
# the words of a command, and the file that is there once it has done its work
Commands = Iterator[tuple[list[str], Path]]


class PlannedRun(NamedTuple):
    """One run of a recipe."""

    recipe: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Its row's name among the costs."""
        return self.recipe

    @property
    def target(self) -> Path:
        """Where it is published."""
        return run_target(self.recipe, self.seed)

    @property
    def steps(self) -> float:
        """Optimizer steps of the whole run."""
        return n_steps(find(self.recipe))

    def folder(self, runs: Path) -> Path:
        """Return its run folder below the folder of all runs."""
        return runs / self.recipe / f"seed-{self.seed}"

    def fingerprint(self) -> str:
        """Return its recipe's fingerprint, seed included."""
        return fingerprint(change(find(self.recipe), {"seed": self.seed}, self.recipe))

    def is_in(self, folder: Path) -> bool:
        """Return whether what was begun in a folder, if any, is this run with today's recipe."""
        run = RunFolder(folder)
        return not run.exists or fingerprint(run.recipe()) == self.fingerprint()

    def commands(self, folder: Path, runs: Path) -> Commands:
        """Yield its command; what of it is done already is left out."""
        words = [self.recipe, f"seed={self.seed}"]
        yield train_words(words, folder, runs), folder / "result.json"

    def publish(self, folder: Path, seconds: float) -> None:
        """Copy what is published of it; ``seconds`` passed while it ran."""
        publish_run(folder, self.target, seconds)


class PlannedSearch(NamedTuple):
    """A shipped search; its best trial is trained once more, and tested."""

    search: str

    @property
    def name(self) -> str:
        """Its name among the costs."""
        return SEARCH + self.search

    @property
    def recipe(self) -> str:
        """The recipe that is searched."""
        return find_search(self.search).recipe

    @property
    def target(self) -> Path:
        """Where it is published."""
        return search_target(self.search)

    @property
    def steps(self) -> float:
        """Optimizer steps of all trials, where each rung stops its part, and of the best again."""
        search = find_search(self.search)
        rungs = [0, *search.rungs(), search.epochs()]
        kept_fraction = 1 / getattr(search.scheduler, "reduction_factor", 1)
        epochs = sum((b - a) * kept_fraction**n for n, (a, b) in enumerate(pairwise(rungs)))
        return n_steps(search.base_recipe()) * (1 + search.trials * epochs / search.epochs())

    def folder(self, runs: Path) -> Path:
        """Return its folder: where ``cifarlab search`` puts it, in that working folder."""
        return runs / "runs" / "searches" / folder_name(self.search, 1.0, None)

    def is_in(self, folder: Path) -> bool:
        """Return whether what was begun in a folder, if any, is this search as it is today."""
        content, now = SearchFolder(folder).content(), find_search(self.search)
        if not content:
            return True
        then = validate_config(Search, content["search"], str(folder))
        base = fingerprint(build(content["base"])) == fingerprint(now.base_recipe())
        return base and then.model_copy(update={"about": now.about}) == now

    def commands(self, folder: Path, runs: Path) -> Commands:
        """Yield its two commands."""
        begun = (folder / "search.json").exists()
        yield ["search", self.search, *["--resume"] * begun], folder / "best.yaml"
        best = folder / "best"
        words = [str((folder / "best.yaml").relative_to(runs))]
        yield train_words(words, best, runs), best / "result.json"

    def publish(self, folder: Path, seconds: float) -> None:
        """Copy what is published of it; ``seconds`` passed while it ran."""
        publish_search(folder, self.target, seconds)


Planned = PlannedRun | PlannedSearch


def train_words(words: list[str], folder: Path, runs: Path) -> list[str]:
    """Return the words that train a recipe in a folder, or go on with it there.

    The folder is named as from ``runs``, where the command runs: provenance.json, which is
    published, repeats it.
    """
    resume = ["--resume"] * RunFolder(folder).exists
    return ["train", *words, "--run", str(folder.relative_to(runs)), *resume]


def n_steps(recipe: Recipe) -> int:
    """Return the optimizer steps of a whole run, as far as its data's source knows."""
    per_epoch = -(-usual_images(recipe) // recipe.training.batch_size)
    return recipe.training.duration.in_steps(per_epoch, 0)


@cache
def step_cost_key(name: str) -> str:
    """Return what a recipe's seconds per step depend on; no rates, schedules and seeds."""
    recipe = find(name)
    training = {
        key: getattr(recipe.training, key)
        for key in ("batch_size", "micro_batch_size", "precision", "selective_backprop")
    }
    parts = (recipe.data, recipe.augment, recipe.model, recipe.averaging, training)
    return repr((*parts, recipe.optimizer.kind))


def plan(order: tuple[tuple[str, int], ...], only: str) -> tuple[list[Planned], list[Planned]]:
    """Return what is not published yet: the rows of an order, and all others, in no order.

    Args:
        order: patterns of names, searches behind SEARCH, and seeds of each
        only: pattern of the names that are wanted
    """
    names_of = twins()
    wanted = {first: names for first, names in names_of.items() if fnmatch.filter(names, only)}
    searches = fnmatch.filter(search_names(), only)
    ordered: dict[Planned, None] = {}
    for pattern, n_seeds in order:
        if pattern.startswith(SEARCH):
            matches = fnmatch.filter(searches, pattern.removeprefix(SEARCH))
            ordered.update((PlannedSearch(name), None) for name in matches)
            continue
        for first, names in wanted.items():
            if fnmatch.filter(names, pattern):
                ordered.update((PlannedRun(first, seed), None) for seed in range(n_seeds))
    rest: list[Planned] = [*map(PlannedRun, wanted), *map(PlannedSearch, searches)]
    done = published_fingerprints()
    return (
        [planned for planned in ordered if not is_published(planned, done)],
        [planned for planned in rest if planned not in ordered and not is_published(planned, done)],
    )


@cache
def twins() -> dict[str, list[str]]:
    """Return the reports' recipes by the first name of each; those in a list are the same."""
    by_fingerprint: dict[str, list[str]] = {}
    for name in recipe_names():
        by_fingerprint.setdefault(fingerprint_row(find(name)), []).append(name)
    return {names[0]: names for names in by_fingerprint.values()}


def is_published(planned: Planned, fingerprints: set[str]) -> bool:
    """Return whether a run or search is published as it is defined today."""
    if isinstance(planned, PlannedRun):
        return planned.fingerprint() in fingerprints
    return planned.target.exists() and planned.is_in(planned.target)
