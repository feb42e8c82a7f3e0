"""An audit of the data: images that are there twice, and labels that are probably wrong."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.audit.duplicates import Twins, near_duplicates
from cifarlab.audit.findings import (
    SHOWN,
    Part,
    duplicate_findings,
    label_findings,
    shortened,
    shown_pairs,
)
from cifarlab.audit.folds import out_of_fold, whole_groups
from cifarlab.audit.labels import require_cleanlab
from cifarlab.audit.tables import write_tables
from cifarlab.data.dataset import Dataset, Progress, Subset, Tell
from cifarlab.data.opening import open_data
from cifarlab.data.splits import training_subsets
from cifarlab.evaluation.run_evaluation import open_split
from cifarlab.evaluation.test_split import open_test_split
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint, overridden
from cifarlab.runs.audit_findings import Audit
from cifarlab.runs.folder import RunFolder
from cifarlab.system.device import choose
from cifarlab.system.errors import DataError, RunFolderError
from cifarlab.system.files import lock_folder
from cifarlab.training.callbacks import Callback

AUDITS = Path("audits")

__all__ = ["Audit", "audit"]


def audit(
    name: str,
    settings: Sequence[str] = (),
    *,
    folds: int = 3,
    test: bool = False,
    csv: bool = False,
    out: Path | None = None,
    callbacks: Sequence[Callback] = (),
    command: str = "cifarlab.audit.run_audit.audit",
    progress: Progress | None = None,
    tell: Tell | None = None,
) -> Audit:
    """Audit the training data of a run's folder or of a recipe; give where the findings lie.

    Of a run in its ``audit`` folder, of a recipe in ``audits/<name>-<fingerprint>``, else in
    ``out``. Near-duplicates are looked for within and across training, validation and, with
    ``test``, the test split of a finished run or of the recipe's data; the opening is recorded in
    the run, else in the audit. Labels are judged by ``folds`` networks, each trained on the other
    folds; 0: not at all. ``csv`` adds the tables of ``write_tables``. Raises every error of
    cifarlab.system.errors.
    """
    run = RunFolder(name) if RunFolder(name).exists else None
    recipe = _recipe(name, run, settings)
    _require_sound(folds)
    place = Audit(out or (run.audit if run else AUDITS / _folder_name(recipe)))
    dataset = open_data(recipe.data, progress, tell)
    if run:
        run.require_same_data(dataset.fingerprint)
    parts = _parts(dataset, recipe)
    if test:
        parts.append(_part("test", _opened_test(dataset, recipe, run or place, command)))
    twins, found, images = _duplicates(parts, progress or _silent)
    if folds:
        inside = twins.pairs[(twins.pairs < len(parts[0].indices)).all(1)]
        together, parted = whole_groups(inside, parts[0], folds)
        logits = out_of_fold(
            recipe,
            dataset,
            folds,
            together,
            place.path / "folds",
            callbacks=callbacks,
            command=command,
            progress=progress,
        )
        found["labels"] = label_findings(logits, parts[0], dataset, folds, parted)
        suspects = [one["index"] for one in found["labels"]["suspects"][:SHOWN]]
        images["suspects"] = np.array(parts[0].images[suspects])
    if csv:
        write_tables(place.path, found, dataset.classes)
    place.write({**_about(dataset, recipe, command), **shortened(found)}, images)
    return place


def _require_sound(folds: int) -> None:
    if folds == 1 or folds < 0:
        raise DataError(f"labels can't be judged by {folds} folds", "take 0, or 2 and more")
    if folds:
        require_cleanlab()


def _opened_test(
    dataset: Dataset, recipe: Recipe, folder: RunFolder | Audit, command: str
) -> Subset:
    """The test images; the opening is recorded in the folder of the run or of the audit.

    Raises RunFolderError for a run that has not finished.
    """
    if isinstance(folder, RunFolder):
        return open_split(folder, "test", "audit", command, None, views=1).subset
    busy = RunFolderError(
        f"{folder.path} is in use by another process",
        "wait for it or end it, or give another folder with --out",
    )
    with lock_folder(folder.path, busy):  # two at once would lose one of the records
        return open_test_split(dataset, recipe.data, folder, "audit", command)


def _duplicates(
    parts: list[Part], progress: Progress
) -> tuple[Twins, dict[str, Any], dict[str, np.ndarray]]:
    """Twins, the findings so far, and the images by kind, of suspects none."""
    pixels = np.concatenate([part.images[part.indices] for part in parts])
    twins = near_duplicates(pixels, choose().device, progress)
    found = duplicate_findings(twins, parts)
    images = {"pairs": pixels[shown_pairs(found, parts)], "suspects": pixels[:0]}
    return twins, {"duplicates": found, "labels": None}, images


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
    subsets = zip(("train", "val"), training_subsets(dataset, recipe.data), strict=True)
    return [_part(name, subset) for name, subset in subsets if subset is not None]


def _part(name: str, subset: Subset) -> Part:
    return Part(name, subset.images, subset.labels, subset.indices, subset.names)


def _folder_name(recipe: Recipe) -> str:
    return f"{recipe.name.replace('/', '-')}-{fingerprint(recipe)[:8]}"


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass
