"""Run a study: reuse finished runs, train the others, compare all.

Seeds are the outer loop, so that a study that was stopped has complete pairs to compare.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cifarlab.config.plugins import copy_plugins
from cifarlab.experiments.engine import Log, local_workers, run_experiment
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study, find_study
from cifarlab.experiments.study.folder import StudyFolder, study_folder, write_comparison
from cifarlab.experiments.study.record import PlannedRun, StudyRecord
from cifarlab.experiments.study.scale import scale_recipe
from cifarlab.experiments.writing import require_valid_options
from cifarlab.recipes.text import change, fingerprint, validate_config
from cifarlab.run_folder.naming import RUNS


class FinishedStudy(NamedTuple):
    """The result of a study: folder, comparison, problems with its files, number of failed runs."""

    folder: StudyFolder
    comparison: Comparison
    problems: list[str]
    n_failed: int


def run_study(
    study: Study | str,
    *,
    n_seeds: int | None = None,
    scale: float = 1.0,
    only: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    log: Log = print,
    command: str = "cifarlab.study",
) -> FinishedStudy:
    """Train the missing runs of a study and compare all of its runs.

    A failed run is recorded with its reason and does not end the study.

    Args:
        study: the study, the name of a shipped one, or a YAML file
        n_seeds: runs per row; None for the study's number
        scale: fraction of the training images and epochs, in (0, 1]
        only: shell pattern: train only the rows that match, and the baseline
        jobs: runs at a time
        resume: go on with unfinished runs
        data: ``data.source`` of all rows; None for the recipes' own
        runs: folder of the runs; the study goes to its ``studies`` folder
        formats: file formats of the figure
        log: receives lines about the progress
        command: the command that the user typed

    Raises:
        RecipeError: there is no such study, a recipe or override is not valid, or the metric is
            always the same
        UserError: an option is not valid
        RunFolderError: the study was begun and ``resume`` is false
        StorageError: the disk can't be written to
        Interrupted: a signal arrived
        FailedRunsError: all runs failed
    """
    study = find_study(study)
    require_valid_options(formats, jobs=jobs, n_seeds=n_seeds)
    planned_runs = _plan(study, n_seeds or study.n_seeds, scale, study.select_rows(only), data)
    folder = study_folder(study, scale, data, runs)
    with folder.lock():
        copy_plugins(study.plugins, folder.path)
        record = StudyRecord(study, scale, planned_runs, folder, runs, log)
        record.plan_jobs(command, resume)
        n_jobs, n_finished = len(record.jobs), len(record.finished_folders)
        log(f"{study.name}: {n_jobs} runs to train, {n_finished} are there; {folder.path}")
        if n_jobs:
            record.write()
            workers = local_workers(jobs, log)
            run_experiment(record, command, workers if jobs > 1 else None)
        comparison = record.compare_finished()
        record.write(comparison)
        problems = write_comparison(comparison, folder.path, formats)
    return FinishedStudy(folder, comparison, problems, record.n_failed)


def _plan(
    study: Study, n_seeds: int, scale: float, row_names: Sequence[str], data: str | None
) -> list[PlannedRun]:
    """Return the study's runs, row by row within each seed. Raises RecipeError and UserError."""
    validate_config(Study, study.model_dump() | {"n_seeds": n_seeds}, f"study {study.name}")
    recipes = study.recipes()
    if data is not None:
        recipes = {row: change(r, {"data.source": data}) for row, r in recipes.items()}
    recipes = {row: scale_recipe(recipe, scale) for row, recipe in recipes.items()}
    return [
        PlannedRun(row, seeded, fingerprint(seeded), row in row_names)
        for seed in range(study.first_seed, study.first_seed + n_seeds)
        for row, recipe in recipes.items()
        for seeded in [recipe.model_copy(update={"seed": seed})]
    ]
