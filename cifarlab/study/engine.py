"""Runs a study: what is finished is taken as it is, the rest is trained, then all is compared.

Seeds are the outer loop, so that a study that was stopped has whole pairs to compare.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.errors import Interrupted, RunFolderError, UserError
from cifarlab.recipe import Recipe, change, fingerprint
from cifarlab.run import RunFolder
from cifarlab.run.naming import RUNS, finished_runs, latest_folder, new_folder
from cifarlab.study.comparison import Comparison, Outcome, compare
from cifarlab.study.definition import Study
from cifarlab.study.folder import StudyFolder, study_folder, write_comparison
from cifarlab.study.outcomes import outcome, read_finished
from cifarlab.study.scale import scaled
from cifarlab.study.table import as_json
from cifarlab.study.workers import Failure, Job, train_all

Tell = Callable[[str], None]


class Planned(NamedTuple):
    """One run of the study; ``wanted`` is false for rows that were left out this time."""

    row: str
    recipe: Recipe
    fingerprint: str
    wanted: bool


class Studied(NamedTuple):
    """A study's end: its folder, the comparison, and what could not be made."""

    folder: StudyFolder
    comparison: Comparison
    problems: list[str]


def run_study(
    study: Study,
    *,
    seeds: int | None = None,
    scale: float = 1.0,
    only: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    data: str | None = None,
    runs: Path = RUNS,
    command: str = "cifarlab.study.run_study",
    tell: Tell = lambda _line: None,
) -> Studied:
    """Train what is missing of ``study`` and compare all that is there.

    ``seeds`` runs per row (default: the study's); ``only`` the baseline and the rows that match
    that pattern are trained; ``jobs`` runs at a time. Runs that a killed study left unfinished
    need ``resume``. Each failed run is recorded with its reason and does not end the study.
    Raises RecipeError, UserError, RunFolderError, StorageError, Interrupted.
    """
    if jobs < 1:
        raise UserError(f"--jobs {jobs}: that is no number of processes", "take 1 or more")
    planned = _plan(study, seeds or study.seeds, scale, study.chosen(only), data)
    folder = study_folder(study, scale, data, runs)
    with folder.in_use():
        record = _Record(study, scale, planned, folder, runs)
        todo = record.to_train(command, resume)
        there = len(record.finished)
        tell(f"{study.name}: {len(todo)} runs to train, {there} are there; {folder.path}")
        _train(todo, jobs, record, command, tell)
        comparison = record.compared()
        record.write(comparison)
        problems = write_comparison(comparison, folder.path)
    return Studied(folder, comparison, problems)


def _plan(
    study: Study, seeds: int, scale: float, wanted: Sequence[str], data: str | None
) -> list[Planned]:
    """All runs of the study, row by row within each seed. Raises RecipeError and UserError."""
    recipes = study.recipes()
    if data is not None:
        recipes = {row: change(r, {"data.source": data}) for row, r in recipes.items()}
    recipes = {row: scaled(recipe, scale) for row, recipe in recipes.items()}
    planned = []
    for seed in range(seeds):
        for row, recipe in recipes.items():
            one = recipe.model_copy(update={"seed": seed})
            planned.append(Planned(row, one, fingerprint(one), row in wanted))
    return planned


class _Record:
    """What is known of each planned run, kept in study.json as it changes."""

    def __init__(
        self, study: Study, scale: float, planned: list[Planned], folder: StudyFolder, runs: Path
    ) -> None:
        self.study, self.scale, self.planned, self.folder = study, scale, planned, folder
        self.runs = runs
        self.find_finished()
        told = folder.content().get("runs", [])
        self.failures = {
            run["fingerprint"]: Failure(**run["failure"]) for run in told if run["failure"]
        }

    def find_finished(self) -> None:
        """Look for finished runs of the planned recipes, best in the study's own folder."""
        known = finished_runs(self.runs) | finished_runs(self.folder.path)
        self.finished = {
            p.fingerprint: known[p.fingerprint] for p in self.planned if p.fingerprint in known
        }

    def to_train(self, command: str, resume: bool) -> list[Job]:
        """The wanted runs that are neither finished nor known to diverge.

        Raises RunFolderError where one was begun and ``resume`` is not given.
        """
        jobs: dict[str, Job] = {}
        for one in self.planned:
            if not one.wanted or one.fingerprint in self.finished:
                continue
            begun = self.begun(one.recipe)
            failure = self.failures.get(one.fingerprint)
            if begun and failure and failure.kind == "DivergenceError":
                continue
            if begun and not failure and not resume:
                raise RunFolderError(
                    f"{begun.path} was begun and is not finished",
                    f"go on with: {command} --resume",
                )
            self.failures.pop(one.fingerprint, None)
            path = (begun or new_folder(one.recipe, self.folder.path)).path
            jobs.setdefault(one.fingerprint, Job(one.row, one.recipe, str(path), command))
        return list(jobs.values())

    def begun(self, recipe: Recipe) -> RunFolder | None:
        """The unfinished run of that recipe in the study's folder."""
        try:
            return latest_folder(recipe, finished=False, runs=self.folder.path)
        except RunFolderError:
            return None

    def ended(self, job: Job, failure: Failure | None) -> None:
        """Note how a run ended."""
        key = fingerprint(job.recipe)
        if failure:
            self.failures[key] = failure
        else:
            self.finished[key] = RunFolder(job.path)
        self.write()

    def compared(self) -> Comparison:
        """Compare all runs that are there. Raises UserError for none."""
        folders = [folder.path for folder in self.finished.values()]
        runs, warnings = read_finished(folders)
        read = dict(zip(self.finished, runs, strict=True))
        outcomes = [self._outcome(one, read) for one in self.planned]
        rows = [row.name for row in self.study.rows]
        found = compare(
            self.study.name, rows, self.study.reference, outcomes, self.study.reported, self.scale
        )
        return found.with_notes(warnings)

    def _outcome(self, one: Planned, read: dict[str, Any]) -> Outcome:
        if one.fingerprint in read:
            return outcome(one.row, read[one.fingerprint])
        failure = self.failures.get(one.fingerprint)
        why = f"{failure.kind}: {failure.what}" if failure else "not trained yet"
        return Outcome(one.row, one.recipe.seed, one.fingerprint, failure=why)

    def write(self, comparison: Comparison | None = None) -> None:
        """Replace study.json. Raises StorageError."""
        self.folder.write(
            {
                "study": self.study.model_dump(mode="json"),
                "scale": self.scale,
                "runs": [self._entry(one) for one in self.planned],
                "comparison": as_json(comparison),
            }
        )

    def _entry(self, one: Planned) -> dict[str, Any]:
        finished, failure = self.finished.get(one.fingerprint), self.failures.get(one.fingerprint)
        return {
            "row": one.row,
            "seed": one.recipe.seed,
            "fingerprint": one.fingerprint,
            "state": "finished" if finished else "failed" if failure else "open",
            "run": self.folder.relative(finished.path) if finished else None,
            "failure": failure and failure._asdict(),
        }


def _train(jobs: Sequence[Job], workers: int, record: _Record, command: str, tell: Tell) -> None:
    """Train the jobs, telling of each. Raises Interrupted with the command that goes on."""
    ended = 0

    def begin(job: Job, _: Failure | None) -> None:
        tell(f"{ended + 1}/{len(jobs)} {job.row}, seed {job.recipe.seed} ...")

    def done(job: Job, failure: Failure | None) -> None:
        nonlocal ended
        ended += 1
        record.ended(job, failure)
        how = f"failed: {failure.what}" if failure else _accuracy(job.path)
        tell(f"{ended}/{len(jobs)} {job.row}, seed {job.recipe.seed}: {how}")

    if not jobs:
        return
    record.write()
    try:
        train_all(jobs, workers, done, begin)
    except Interrupted as error:
        raise Interrupted(
            f"interrupted after {ended} of {len(jobs)} runs; the checkpoints are written",
            f"go on with: {command}" + ("" if "--resume" in command.split() else " --resume"),
            error.signum,
        ) from error


def _accuracy(path: str) -> str:
    result = RunFolder(path).result() or {}
    told = {"test": "test", "val": "validation"}
    shown = [f"{told[s]} {100 * result[s]['accuracy']:.2f} %" for s in told if s in result]
    return f"{', '.join(shown)} on {result.get('data')} ({result['cost']['train_seconds']:.0f} s)"
