"""Runs a study: what is finished is taken as it is, the rest is trained, then all is compared.

Seeds are the outer loop, so that a study that was stopped has whole pairs to compare.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cifarlab.config.plugins import copy_plugins
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import SPLIT_NAMES, Study
from cifarlab.experiments.study.folder import StudyFolder, study_folder, write_comparison
from cifarlab.experiments.study.record import PlannedRun, StudyRecord
from cifarlab.experiments.study.scale import scale_recipe
from cifarlab.experiments.study.workers import Failure, RunJob, interruption, train_all
from cifarlab.metrics.kinds import MetricConfig
from cifarlab.plots.spec import require_formats
from cifarlab.recipes.text import change, fingerprint, validate_config
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.naming import RUNS
from cifarlab.system.errors import CifarlabError, Interrupted, UserError
from cifarlab.system.threads import available_threads

Log = Callable[[str], None]


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
    require_formats(formats)
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: that is no number of processes", "take 1 or more")
    n_runs = study.n_seeds if n_seeds is None else n_seeds
    if n_runs < 1:
        raise UserError(f"--n-seeds {n_runs}: that is no number of runs", "take 1 or more")
    planned = _plan(study, n_runs, scale, study.select_rows(only), data)
    folder = study_folder(study, scale, data, runs)
    with folder.in_use():
        copy_plugins(study.plugins, folder.path)
        record = StudyRecord(study, scale, planned, folder, runs)
        pending = record.pending_jobs(command, resume)
        for note in record.notes:
            log(note)
        n_finished = len(record.finished)
        log(f"{study.name}: {len(pending)} runs to train, {n_finished} are there; {folder.path}")
        _train(pending, jobs, record, command, log)
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
    planned = []
    for seed in range(study.first_seed, study.first_seed + n_seeds):
        for row, recipe in recipes.items():
            seeded_recipe = recipe.model_copy(update={"seed": seed})
            planned.append(
                PlannedRun(row, seeded_recipe, fingerprint(seeded_recipe), row in wanted)
            )
    return planned


def _train(
    jobs: Sequence[RunJob], workers: int, record: StudyRecord, command: str, log: Log
) -> None:
    """Train the jobs, telling of each. Raises Interrupted with the command that goes on."""
    n_ended = 0

    def on_begin(job: RunJob) -> None:
        log(f"{n_ended + 1}/{len(jobs)} {job.row}, seed {job.recipe.seed} ...")

    def on_end(job: RunJob, failure: Failure | None) -> None:
        nonlocal n_ended
        n_ended += 1
        record.log_end(job, failure)
        how = f"failed: {failure.what}" if failure else _score(job.path, record.study.metric)
        log(f"{n_ended}/{len(jobs)} {job.row}, seed {job.recipe.seed}: {how}")

    if not jobs:
        return
    record.write()
    if note := available_threads().note:
        log(note)
    try:
        _open_data_once(jobs[0], log)
        train_all(jobs, workers, on_end, on_begin)
    except Interrupted as error:
        raise Interrupted(
            f"interrupted after {n_ended} of {len(jobs)} runs; the checkpoints are written",
            f"go on with: {command}" + ("" if "--resume" in command.split() else " --resume"),
            error.signum,
        ) from error


def _open_data_once(job: RunJob, log: Log) -> None:
    """Decode what the run sees before several wait for it, and tell what it is.

    Raises Interrupted.
    """
    from cifarlab.data.opening import open_data
    from cifarlab.system.signals import stop_on_signal

    # each run says itself what is wrong with its data, and that does not end the study
    with stop_on_signal() as stop, suppress(CifarlabError):
        open_data(job.recipe.data, log=log)
    if stop.signum:
        raise interruption(stop.signum)


def _score(path: str, metric: MetricConfig) -> str:
    result = RunFolder(path).result() or {}
    values = {s: result[s]["metrics"].get(metric.name) for s in SPLIT_NAMES if s in result}
    shown = [f"{SPLIT_NAMES[s]} {metric.facts.text(value)}" for s, value in values.items()]
    early = [describe_early_end(result)] if describe_early_end(result) else []
    where = f"on {result.get('data')} ({result['cost']['train_seconds']:.0f} s)"
    return ", ".join([f"{', '.join(shown)} {where}", *early])
