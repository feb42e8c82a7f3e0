"""Finished runs that a study takes as they are: of the same recipe and seed, on the same images."""

from collections.abc import Collection
from contextlib import suppress
from functools import cache
from itertools import chain
from pathlib import Path

from cifarlab.data.config import Data
from cifarlab.data.opening import open_data
from cifarlab.experiments.engine import Log
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import finished_runs
from cifarlab.run_folder.openings import read_recipe_text
from cifarlab.system.errors import CifarlabError, RunFolderError


class ReusableRuns:
    """The finished runs under a folder, those in the study's own folder first.

    A run that its time limit ended is reused from the study's folder only: this study would end it
    again, but another one may have another limit.
    """

    def __init__(self, runs: Path, study: Path, log: Log) -> None:
        self._study, self._log = study, log
        self._full_runs = finished_runs(runs)
        self._early_runs = finished_runs(study, ended_early=True)
        self._image_fingerprint = cache(self._open_images)

    def find(self, recipe: Recipe) -> RunFolder | None:
        """Return a finished run of a recipe with its seed on today's images."""
        key = fingerprint(recipe)
        complete = self._full_runs.get(key, [])
        complete.sort(key=lambda run: not run.path.is_relative_to(self._study))
        candidates = [*complete, *self._early_runs.get(key, [])]
        for folder in candidates:
            if self.has_same_images(recipe, folder):
                return folder
        if candidates:
            self._log(f"{candidates[0].path} is not taken: the images are others today")
        return None

    def count_recipes(self, baseline: Recipe, seeds: Collection[int]) -> int:
        """Return how many recipes but the baseline have runs of these seeds on its images."""
        baselines = {fingerprint(baseline.model_copy(update={"seed": seed})) for seed in seeds}
        recipes = set()
        for folder in chain(*(self._full_runs[key] for key in self._full_runs.keys() - baselines)):
            with suppress(RunFolderError):
                text = read_recipe_text(folder)
                if text.seed in seeds and self.has_same_images(baseline, folder):
                    recipes.add(text.key)
        return len(recipes)

    def has_same_images(self, recipe: Recipe, folder: RunFolder) -> bool:
        """Return whether a run was trained on the images that its recipe's source has today.

        True also where that source can't be opened, since nothing shows that they differ.
        """
        images = self._image_fingerprint(recipe.data)
        return images is None or folder.has_same_data(images)

    def _open_images(self, data: Data) -> str | None:
        try:
            return open_data(data).dataset.fingerprint
        except CifarlabError as error:
            self._log(f"finished runs are taken unseen, since {error.what}")
            return None
