"""An audit of the data: images that are there twice, and labels that are probably wrong."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.audit.duplicates import near_duplicates
from cifarlab.audit.findings import (
    SHOWN,
    Part,
    duplicate_findings,
    label_findings,
    shown_pairs,
)
from cifarlab.audit.folds import out_of_fold
from cifarlab.audit.labels import require_cleanlab
from cifarlab.compute import choose
from cifarlab.data import Dataset, open_data, training_subsets
from cifarlab.data.dataset import Progress, Tell
from cifarlab.errors import DataError, RunFolderError
from cifarlab.evaluate import open_split
from cifarlab.recipe import Recipe, fingerprint, overridden
from cifarlab.recipes import find
from cifarlab.run import Audit, RunFolder
from cifarlab.train import Hook

AUDITS = Path("audits")

__all__ = ["Audit", "audit"]


def audit(
    name: str,
    settings: Sequence[str] = (),
    *,
    folds: int = 3,
    test: bool = False,
    out: Path | None = None,
    hooks: Sequence[Hook] = (),
    command: str = "cifarlab.audit.audit",
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Audit:
    """Audit the training data of a run's folder or of a recipe; give where the findings lie.

    Of a run in its ``audit`` folder, of a recipe in ``audits/<name>-<fingerprint>``, else in
    ``out``. Near-duplicates are looked for within and across training, validation and, with
    ``test``, the test split of a finished run, whose opening is recorded. Labels are judged by
    ``folds`` networks, each trained on the other folds; 0: not at all. Raises every error of
    cifarlab.errors.
    """
    run = RunFolder(name) if RunFolder(name).exists else None
    recipe = _recipe(name, run, settings)
    _require_sound(name, run, folds, test)
    place = Audit(out or (run.audit if run else AUDITS / _folder_name(recipe)))
    dataset = open_data(recipe.data, progress, tell)
    if run:
        run.require_same_data(dataset.fingerprint)
    parts = _parts(dataset, recipe)
    if test and run:
        subset = open_split(run, "test", "audit", command, progress).subset
        parts.append(Part("test", subset.images, subset.labels, subset.indices))
    found, images = _duplicates(parts, progress or _silent)
    if folds:
        logits = out_of_fold(
            recipe,
            dataset,
            folds,
            place.path / "folds",
            hooks=hooks,
            command=command,
            progress=progress,
        )
        found["labels"] = label_findings(logits, parts[0], dataset, folds)
        shown = [one["index"] for one in found["labels"]["suspects"][:SHOWN]]
        images["suspects"] = np.array(parts[0].images[shown])
    place.write({**_about(dataset, recipe, command), **found}, images)
    return place


def _require_sound(name: str, run: RunFolder | None, folds: int, test: bool) -> None:
    if folds == 1 or folds < 0:
        raise DataError(f"labels can't be judged by {folds} folds", "take 0, or 2 and more")
    if test and run is None:
        raise RunFolderError(
            f"{name} is no run: its test split stays closed", "audit a finished run, or drop --test"
        )
    if folds:
        require_cleanlab()


def _duplicates(
    parts: list[Part], progress: Progress
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The findings so far, and the images by kind, of suspects none."""
    pixels = np.concatenate([part.images[part.indices] for part in parts])
    twins = near_duplicates(pixels, choose().device, progress)
    found = duplicate_findings(twins, parts)
    images = {"pairs": pixels[shown_pairs(found, parts)], "suspects": pixels[:0]}
    return {"duplicates": found, "labels": None}, images


def _about(dataset: Dataset, recipe: Recipe, command: str) -> dict[str, Any]:
    return {
        "data": dataset.name,
        "recipe": recipe.name,
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(dataset.classes),
    }


def _recipe(name: str, run: RunFolder | None, settings: Sequence[str]) -> Recipe:
    if run is None:
        recipe = overridden(find(name), settings)
    elif settings:
        raise RunFolderError(
            f"{name} has its recipe: its settings can't be changed", "audit a recipe instead"
        )
    else:
        recipe = run.recipe()
    if recipe.data.fold is not None:
        raise DataError("data.fold is set: folds are the audit's to choose", "leave it out")
    return recipe


def _parts(dataset: Dataset, recipe: Recipe) -> list[Part]:
    training, validation = training_subsets(dataset, recipe.data)
    parts = [Part("train", training.images, training.labels, training.indices)]
    if validation:
        parts.append(Part("val", validation.images, validation.labels, validation.indices))
    return parts


def _folder_name(recipe: Recipe) -> str:
    return f"{recipe.name.replace('/', '-')}-{fingerprint(recipe)[:8]}"


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass
