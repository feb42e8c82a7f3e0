"""Run a study: reuse finished runs, train the others, compare all.

Seeds are the outer loop, so that rows can be looked at after each of them. The plan of these looks
stands in study.json before the first run.
"""

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import NamedTuple

from cifarlab.config.plugins import copy_plugins
from cifarlab.experiments.engine import Log, resume_command
from cifarlab.experiments.placement import DEFAULT_PLACEMENT, Placement
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study, change_plan, find_study
from cifarlab.experiments.study.folder import StudyFolder, write_comparison
from cifarlab.experiments.study.record import PlannedRun, StudyRecord
from cifarlab.plots.spec import require_formats
from cifarlab.recipes.scale import scale_recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder import RUNS


class FinishedStudy(NamedTuple):
    """The result of a study: its folder, comparison, and number of failed runs."""

    folder: StudyFolder
    comparison: Comparison
    n_failed: int


def run_study(
    study: Study | str,
    *,
    n_seeds: int | None = None,
    until: str | None = None,
    margin: float | None = None,
    most: int | None = None,
    first_seed: int | None = None,
    scale: float = 1.0,
    only: str | None = None,
    placement: Placement = DEFAULT_PLACEMENT,
    end: float = inf,
    resume: bool = False,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    log: Log = print,
    command: str = "cifarlab.study",
) -> FinishedStudy:
    """Train the missing runs of a study and compare all; a failed run does not end it.

    Args:
        study: the study, the name of a shipped one, or a YAML file
        n_seeds: runs per row; None for the study's number
        until: ``seeds`` (n_seeds of them) or ``decided``; None for the study's way
        margin: rows that differ by less are the same; points, where in per cent
        most: runs per row at most, until they are decided; None for the study's number
        first_seed: the first seed; another one than the study's makes another study
        scale: fraction of the training images and epochs, in (0, 1]
        only: shell pattern: train only the rows that match, and the baseline
        placement: where the runs train, and how many at a time
        end: when (``time.monotonic``) runs are left at their last checkpoints
        resume: go on with unfinished runs
        data: ``data.source`` of all rows; None for the recipes' own
        runs: folder of the runs; the study goes to its ``studies`` folder
        formats: file formats of the figure
        log: receives lines about the progress
        command: the command that the user typed

    Raises:
        UserError: the study or an option is not valid or can't be met, or its plan was another
        RunFolderError: the study was begun and ``resume`` is false
        StorageError: the disk can't be written to
        Interrupted: a signal arrived
        FailedRunsError: all runs failed
    """
    require_formats(formats)
    placement.require_valid()
    plan = {"until": until, "margin": margin, "most": most, "first_seed": first_seed}
    study = change_plan(find_study(study), n_seeds=n_seeds, **plan)
    planned_runs = _plan(study, scale, only, data)
    folder = StudyFolder.locate(study.name, scale, data, runs, first_seed)
    with folder.lock():
        record = StudyRecord(study, scale, planned_runs, folder, runs, log)
        if _begin(record, command, resume, log):
            placement.run(record, resume_command(command), log, end)
        comparison = record.compare_finished()
        record.write(comparison)
        write_comparison(comparison, folder.path, formats)
    return FinishedStudy(folder, comparison, record.n_failed)


def _begin(record: StudyRecord, command: str, resume: bool, log: Log) -> bool:
    """Plan what is missing; log what it costs, and write it down. Return whether there is any."""
    copy_plugins(record.study.plugins, record.folder.path)
    record.plan_jobs(command, resume)
    n_jobs, n_finished = len(record.jobs), len(record.finished_folders)
    more = " before the next look" if record.study.until == "decided" and n_jobs else ""
    where = f"{n_finished} are there; {record.folder.path}"
    log(f"{record.study.name}: {n_jobs} runs to train{more}, {where}")
    if n_jobs:
        for line in (*record.plan.notes(), *record.quote()):
            log(line)
        record.write()
    return bool(n_jobs)


def _plan(study: Study, scale: float, only: str | None, data: str | None) -> list[PlannedRun]:
    """Return the study's runs, row by row within each seed. Raises RecipeError and UserError."""
    row_names = study.select_rows(only)
    recipes = {row: scale_recipe(recipe, scale) for row, recipe in study.recipes(data).items()}
    return [
        PlannedRun(row, seeded, fingerprint(seeded), row in row_names)
        for seed in range(study.first_seed, study.first_seed + study.max_seeds)
        for row, recipe in recipes.items()
        for seeded in [recipe.model_copy(update={"seed": seed})]
    ]
