"""Runs a study: what is finished is taken as it is, the rest is trained, then all is compared.

Seeds are the outer loop, so that a study that was stopped has whole pairs to compare.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cifarlab.config.plugins import copy_plugins
from cifarlab.experiments.engine import Log, local_workers, run_experiment
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.folder import StudyFolder, study_folder, write_comparison
from cifarlab.experiments.study.record import PlannedRun, StudyRecord
from cifarlab.experiments.study.scale import scale_recipe
from cifarlab.experiments.writing import require_sound
from cifarlab.recipes.text import change, fingerprint, validate_config
from cifarlab.run_folder.naming import RUNS


class FinishedStudy(NamedTuple):
    """A study's end: its folder, the comparison, what could not be made, how many runs failed."""

    folder: StudyFolder
    comparison: Comparison
    problems: list[str]
    n_failed: int


def run_study(
    study: Study,
    *,
    n_seeds: int | None = None,
    scale: float = 1.0,
    only: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    command: str = "cifarlab.experiments.study.engine.run_study",
    log: Log = lambda _line: None,
) -> FinishedStudy:
    """Train what is missing of ``study`` and compare all that is there.

    ``n_seeds`` runs per row (default: the study's); ``only`` the baseline and the rows that match
    that pattern are trained; ``jobs`` runs at a time. Runs that a killed study left unfinished
    need ``resume``. ``formats`` are the figure's. Each failed run is recorded with its reason and
    does not end the study. Raises RecipeError, UserError, RunFolderError, StorageError,
    Interrupted, and FailedRunsError where no run is left to compare.
    """
    require_sound(formats, jobs=jobs, n_seeds=n_seeds)
    planned = _plan(study, n_seeds or study.n_seeds, scale, study.select_rows(only), data)
    folder = study_folder(study, scale, data, runs)
    with folder.lock():
        copy_plugins(study.plugins, folder.path)
        record = StudyRecord(study, scale, planned, folder, runs, log)
        record.plan_jobs(command, resume)
        n_jobs, n_finished = len(record.jobs), len(record.finished)
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
    study: Study, n_seeds: int, scale: float, wanted: Sequence[str], data: str | None
) -> list[PlannedRun]:
    """All runs of the study, row by row within each seed. Raises RecipeError and UserError."""
    validate_config(Study, study.model_dump() | {"n_seeds": n_seeds}, f"study {study.name}")
    recipes = study.recipes()
    if data is not None:
        recipes = {row: change(r, {"data.source": data}) for row, r in recipes.items()}
    recipes = {row: scale_recipe(recipe, scale) for row, recipe in recipes.items()}
    return [
        PlannedRun(row, seeded, fingerprint(seeded), row in wanted)
        for seed in range(study.first_seed, study.first_seed + n_seeds)
        for row, recipe in recipes.items()
        for seeded in [recipe.model_copy(update={"seed": seed})]
    ]
