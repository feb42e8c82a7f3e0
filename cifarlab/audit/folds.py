"""Probabilities of each training image by a network that was trained without it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cifarlab.audit.duplicates import groups
from cifarlab.audit.findings import Part
from cifarlab.data.dataset import Dataset, Progress
from cifarlab.data.splits import fold_left_out
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.runs.folder import RunFolder
from cifarlab.system.errors import Interrupted, RunFolderError
from cifarlab.training.callbacks import Hook
from cifarlab.training.train import train


def whole_groups(pairs: np.ndarray, training: Part, folds: int) -> tuple[list[list[int]], int]:
    """Return the groups of images that one fold must hold, and how many near-duplicates it can't.

    ``pairs`` (P, 2) count places in ``training``; the groups are of indices in its source split. A
    network that trained on an image vouches for the label of its near-duplicate, so both belong
    into one fold. Not so where a group has more images of some class than a fold gets: the network
    that judges it would hardly have seen that class.
    """
    labels = training.labels[training.indices]
    most = np.ceil(np.bincount(labels) / folds)
    group = groups(pairs, len(labels))
    order = np.argsort(group, kind="stable")
    whole, parted = [], 0
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        sizes = np.bincount(labels[members], minlength=len(most))
        if (sizes > most).any():
            parted += len(members)
        elif len(members) > 1:
            whole.append(training.indices[members].tolist())
    return whole, parted


def fold_recipe(
    recipe: Recipe, folds: int, number: int, together: Sequence[Sequence[int]] = ()
) -> Recipe:
    """The recipe of one fold's run: it leaves that fold out, and the test split closed."""
    fold = {"of": folds, "number": number, "groups": together}
    return change(recipe, {"data.fold": fold, "evaluation.test": False})


def out_of_fold(
    recipe: Recipe,
    dataset: Dataset,
    folds: int,
    together: Sequence[Sequence[int]],
    path: Path,
    *,
    hooks: Sequence[Hook],
    command: str,
    progress: Progress | None,
) -> np.ndarray:
    """Logits float32 (N, K) of the source's training split, NaN where the recipe trains on none.

    One run per fold, in ``path``/0, 1, ...; runs that ended are taken as they are, others go on.
    The images of each group of ``together`` are judged by one network, which saw none of them.
    Raises what ``train`` raises.
    """
    count = len(dataset.read("train"))
    logits = np.full((count, len(dataset.classes)), np.nan, dtype=np.float32)
    for number in range(folds):
        mine = fold_recipe(recipe, folds, number, together)
        folder = RunFolder(path / str(number))
        if not folder.has_same_data(dataset.fingerprint):
            raise RunFolderError(
                f"the images are not those that {folder.path} was trained on",
                f"restore them, delete {path}, or give another folder with --out",
            )
        _train(mine, folder, hooks, command, progress)
        left = fold_left_out(dataset, mine.data)
        predictor = load_run_predictor(folder)
        told = predictor.logits(left.images, mine.evaluation.views, left.indices)
        logits[left.indices] = told.numpy()
    return logits


def _train(
    recipe: Recipe,
    folder: RunFolder,
    hooks: Sequence[Hook],
    command: str,
    progress: Progress | None,
) -> None:
    if folder.exists and fingerprint(folder.recipe()) != fingerprint(recipe):
        raise RunFolderError(
            f"{folder.path} is of an audit with other settings",
            f"delete {folder.path.parent}, or give another folder with --out",
        )
    if not folder.finished:
        try:
            train(
                recipe,
                folder,
                resume=folder.exists,
                hooks=hooks,
                command=command,
                progress=progress,
            )
        except Interrupted as error:
            raise Interrupted(error.what, f"go on with: {command}", error.signum) from error
