"""Audits data: finds images that are in them twice, and labels that are probably wrong."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.audit.duplicates import find_near_duplicates
from cifarlab.audit.findings import MAX_IMAGES, duplicate_findings, label_findings
from cifarlab.audit.folds import fold_groups, out_of_fold_logits
from cifarlab.audit.labels import require_cleanlab
from cifarlab.audit.tables import write_tables
from cifarlab.config.plugins import Plugin
from cifarlab.data.dataset import Dataset, Log, Progress, Subset
from cifarlab.data.opening import OpenData, open_data
from cifarlab.evaluation.run_evaluation import open_split
from cifarlab.evaluation.test_split import open_test_split
from cifarlab.experiments.placement import DEFAULT_PLACEMENT, Placement
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, fingerprint
from cifarlab.run_folder.audit_findings import Audit
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import choose_compute
from cifarlab.system.errors import DataError, RunFolderError
from cifarlab.system.files import lock_folder

AUDITS = Path("audits")
MAX_ROWS = 1000  # pairs and suspects in findings.json; all are in the tables of --csv


def audit(
    name: str,
    settings: Sequence[str] = (),
    *,
    folds: int = 3,
    test: bool = False,
    csv: bool = False,
    out: Path | None = None,
    plugins: Sequence[Plugin] = (),
    placement: Placement = DEFAULT_PLACEMENT,
    command: str = "cifarlab.audit.run_audit.audit",
    progress: Progress | None = None,
    log: Log | None = None,
) -> Audit:
    """Audit the training data of a run or of a recipe; return the folder of the findings.

    Args:
        name: a run's folder, or a recipe
        settings: changes of the recipe, ``key=value``
        folds: how many networks judge labels, each trained on the other folds; 0: none
        test: whether to search the test split too; its opening is recorded in run or audit
        csv: whether to write the tables of ``write_tables``
        out: the audit's folder; None: ``audit`` in the run's, or ``audits/<name>-<fingerprint>``
        plugins: what the recipe may use
        placement: where the folds' networks are trained
        command: stored in the findings, and recorded where the test split is opened
        progress: called while data are read and images compared
        log: called with a line that describes the data, and with each epoch of the folds

    Raises:
        CifarlabError: any error of cifarlab.system.errors
    """
    run = RunFolder(name) if RunFolder(name).exists else None
    recipe = _recipe(name, run, settings, plugins)
    _require_folds(folds, placement)
    label = f"{recipe.name.replace('/', '-')}-{fingerprint(recipe)[:8]}"
    folder = Audit(out or (run.audit if run else AUDITS / label))
    data = open_data(recipe.data, progress, log)
    if run:
        run.require_same_data(data.dataset.fingerprint)
    with lock_folder(folder.path, _in_use(folder)):
        if run:
            run.require()  # it may have been deleted before the lock
        test_split = _open_test(data.dataset, recipe, run or folder, command) if test else None
        subsets = {"train": data.training, "val": data.validation, "test": test_split}
        pairs, duplicates, images = _find_duplicates(subsets, progress)
        findings = _metadata(data.dataset, recipe, command) | {"duplicates": duplicates}
        options = {"command": command, "placement": placement, "log": log or (lambda _: None)}
        path = folder.path / "folds"
        labels = _judge_labels(recipe, data, pairs, folds, path, **options) if folds else None
        findings["labels"], rows = labels, labels["suspects"] if labels else []
        images["suspects"] = data.training.images[[row["index"] for row in rows[:MAX_IMAGES]]]
        if csv:
            write_tables(folder.path, findings)
        del rows[MAX_ROWS:], duplicates["pairs"][MAX_ROWS:]
        folder.write(findings, images)
    return folder


def _in_use(folder: Audit) -> RunFolderError:
    hint = "wait for it or end it, or give another folder with --out"
    return RunFolderError(f"{folder.path} is in use by another process", hint)


def _require_folds(folds: int, placement: Placement) -> None:
    placement.require_valid()
    if folds == 1 or folds < 0:
        raise DataError(f"labels can't be judged by {folds} folds", "take 0, or 2 and more")
    if folds:
        require_cleanlab()


def _judge_labels(
    recipe: Recipe, data: OpenData, pairs: np.ndarray, folds: int, path: Path, **options: Any
) -> dict[str, Any]:
    """Return ``label_findings``, by networks that are trained in ``path`` with these options."""
    training = data.training
    groups, n_scattered = fold_groups(pairs[(pairs < len(training)).all(1)], training, folds)
    logits = out_of_fold_logits(recipe, data.dataset, folds, groups, path, **options)
    return label_findings(logits, training, data.dataset, folds, n_scattered)


def _open_test(dataset: Dataset, recipe: Recipe, folder: RunFolder | Audit, command: str) -> Subset:
    """Return the test images; record the opening in the folder of the run or of the audit.

    Raises RunFolderError for a run that has not finished.
    """
    if isinstance(folder, RunFolder):
        return open_split(folder, "test", "audit", command, None, views=1).subset
    return open_test_split(dataset, recipe.data, folder, "audit", command)


def _find_duplicates(
    subsets: Mapping[str, Subset | None], progress: Progress | None
) -> tuple[np.ndarray, dict[str, Any], dict[str, np.ndarray]]:
    """Return pairs of positions in all splits, the findings, and images of pairs."""
    splits = {name: subset for name, subset in subsets.items() if subset is not None}
    pixels = np.concatenate([split.images[split.indices] for split in splits.values()])
    twins = find_near_duplicates(pixels, choose_compute().device, progress)
    findings, image_pairs = duplicate_findings(twins, splits)
    return twins.pairs, findings, {"pairs": pixels[image_pairs], "suspects": pixels[:0]}


def _metadata(dataset: Dataset, recipe: Recipe, command: str) -> dict[str, Any]:
    return {
        "data": dataset.name,
        "recipe": recipe.name,
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "classes": list(dataset.classes),
    }


def _recipe(
    name: str, run: RunFolder | None, settings: Sequence[str], plugins: Sequence[Plugin]
) -> Recipe:
    if run and settings:
        raise RunFolderError(
            f"{name} has its recipe: its settings can't be changed", "audit a recipe instead"
        )
    recipe = run.recipe() if run else apply_overrides(find(name, plugins), settings)
    if recipe.data.fold is not None:
        raise DataError("data.fold is set: folds are the audit's to choose", "leave it out")
    return recipe
