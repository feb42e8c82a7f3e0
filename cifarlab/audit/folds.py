"""Logits of each training image by a network that was trained without it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.audit.duplicates import connected_groups
from cifarlab.data.dataset import Dataset, Subset
from cifarlab.data.splits import held_out_fold
from cifarlab.experiments.engine import Experiment, Log
from cifarlab.experiments.placement import Placement
from cifarlab.experiments.worker import Job, JobResult
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import FailedRunsError, RunFolderError
from cifarlab.system.files import disk_errors


def fold_groups(pairs: np.ndarray, training: Subset, folds: int) -> tuple[list[list[int]], int]:
    """Return which images must be in one fold, and how many near-duplicates can't be.

    A network that was trained on an image predicts its label for the near-duplicate, so both belong
    in one fold. A group with more images of a class than a fold gets is scattered: the network that
    judges it would hardly have seen that class.

    Args:
        pairs: near-duplicates (P, 2), as positions in ``training``
        training: the training images
        folds: how many folds there are

    Returns:
        Groups of indices in the source's training split, and how many images are scattered.
    """
    labels = training.labels[training.indices]
    max_per_fold = np.ceil(np.bincount(labels) / folds)
    group_of_image = connected_groups(pairs, len(labels))
    order = np.argsort(group_of_image, kind="stable")
    groups, n_scattered = [], 0
    for members in np.split(order, np.flatnonzero(np.diff(group_of_image[order])) + 1):
        sizes = np.bincount(labels[members], minlength=len(max_per_fold))
        if (sizes > max_per_fold).any():
            n_scattered += len(members)
        elif len(members) > 1:
            groups.append(training.indices[members].tolist())
    return groups, n_scattered


def fold_recipe(
    recipe: Recipe, folds: int, number: int, groups: Sequence[Sequence[int]] = ()
) -> Recipe:
    """Return the recipe of a run that leaves one fold out, and the test split closed.

    Args:
        recipe: the audit's
        folds: how many folds there are
        number: of the fold
        groups: as ``fold_groups`` returns them
    """
    fold = {"n_splits": folds, "index": number, "groups": groups}
    return change(recipe, {"data.fold": fold, "evaluation.test": False})


class FoldRuns(Experiment):
    """The folds' runs as an experiment of the engine; the first failure ends it."""

    def __init__(self, jobs: Sequence[Job], log: Log) -> None:
        self._waiting, self._log, self._n, self._n_ended = [*jobs], log, len(jobs), 0

    @property
    def progress(self) -> str:
        """Return how many runs have ended, in words."""
        return f"{self._n_ended} of {self._n} folds"

    def next_job(self) -> Job | None:
        """Return the next fold's run."""
        return self._waiting.pop(0) if self._waiting else None

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Log an epoch."""
        self._log(f"{job.name}: epoch {line['epoch']}")
        return True

    def on_end(self, job: Job, result: JobResult) -> None:
        """Log the end of a run.

        Raises:
            FailedRunsError: it failed, and labels can't be judged without it
        """
        if failure := result.failure:
            raise FailedRunsError(f"{job.name} failed: {failure.what}", failure.hint)
        self._n_ended += 1
        self._log(f"{job.name} is trained: {self.progress}")


def train_folds(jobs: Sequence[Job], placement: Placement | None, log: Log, command: str) -> None:
    """Train the folds' runs.

    Args:
        jobs: those that are not finished
        placement: where they train; None: in this process, or one on each GPU
        log: receives lines about the progress
        command: goes on with the audit

    Raises:
        Interrupted: a signal came; the command goes on
        FailedRunsError: a run failed
        UserError: there are too few GPUs, or no cluster answers
    """
    (placement or Placement()).run(FoldRuns(jobs, log), command, log)


def out_of_fold_logits(
    recipe: Recipe,
    dataset: Dataset,
    folds: int,
    groups: Sequence[Sequence[int]],
    path: Path,
    command: str,
    **options: Any,
) -> np.ndarray:
    """Return logits float32 (N, K) of the source's training split; NaN where not trained on.

    There is one run per fold, in ``path``/0, 1, ...; finished runs are taken, others go on.

    Args:
        recipe: the audit's
        dataset: its data
        folds: how many folds there are
        groups: as ``fold_groups`` returns them; all images of a group are judged by one network
        path: the folder of the runs
        command: goes on with the audit; recorded in the runs
        **options: as ``train_folds`` takes them

    Raises:
        RunFolderError: a run in ``path`` is of other images or another recipe
        CifarlabError: as ``train_folds`` does
    """
    count = len(dataset.read("train"))
    logits = np.full((count, len(dataset.classes)), np.nan, dtype=np.float32)
    recipes = [fold_recipe(recipe, folds, number, groups) for number in range(folds)]
    folders = [RunFolder(path / str(number)) for number in range(folds)]
    for recipe_of_fold, folder in zip(recipes, folders, strict=True):
        _require_same(recipe_of_fold, dataset, folder)
    jobs = [
        Job(f"fold {number}", recipe_of_fold, str(folders[number].path.resolve()), command)
        for number, recipe_of_fold in enumerate(recipes)
        if not folders[number].is_finished
    ]
    if jobs:
        with disk_errors(path):
            path.mkdir(exist_ok=True)  # a worker that lacks it has another disk
        train_folds(jobs, command=command, **options)
    for recipe_of_fold, folder in zip(recipes, folders, strict=True):
        held_out = held_out_fold(dataset, recipe_of_fold.data)
        views = recipe_of_fold.evaluation.tta_views
        predictor = load_run_predictor(folder)
        fold_logits = predictor.logits(held_out.images, views, held_out.indices)
        logits[held_out.indices] = fold_logits.numpy()
    return logits


def _require_same(recipe: Recipe, dataset: Dataset, folder: RunFolder) -> None:
    """Raise RunFolderError where a fold's run is of other images or another recipe."""
    path = folder.path.parent
    if not folder.has_same_data(dataset.fingerprint):
        raise RunFolderError(
            f"the images are not those that {folder.path} was trained on",
            f"restore them, delete {path}, or give another folder with --out",
        )
    if folder.exists and fingerprint(folder.recipe()) != fingerprint(recipe):
        raise RunFolderError(
            f"{folder.path} is of an audit with other settings",
            f"delete {path}, or give another folder with --out",
        )
