"""What is known of each run of a study, kept in study.json as it changes."""

from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.config import Data
from cifarlab.data.opening import open_data
from cifarlab.experiments.engine import Log, unfinished_error
from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.definition import SPLIT_NAMES, Study
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.outcomes import read_finished, run_outcome
from cifarlab.experiments.worker import Failure, Job, JobResult
from cifarlab.experiments.writing import as_json
from cifarlab.metrics.kinds import MetricConfig
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.naming import finished_runs, latest_folder, new_folder
from cifarlab.system.errors import CifarlabError, FailedRunsError, RunFolderError, UserError


class PlannedRun(NamedTuple):
    """One run of the study; ``wanted`` is false for rows that were left out this time."""

    row: str
    recipe: Recipe
    fingerprint: str
    wanted: bool


class StudyRecord:
    """The runs of a study as an experiment of the engine, kept in study.json as they change.

    ``finished`` folders and ``failures`` are by the fingerprints of the planned runs.
    """

    def __init__(
        self,
        study: Study,
        scale: float,
        planned: list[PlannedRun],
        folder: StudyFolder,
        runs: Path,
        log: Log,
    ) -> None:
        self.study, self.scale, self.planned, self.folder = study, scale, planned, folder
        self._log = log
        self._image_fingerprint = cache(self._open_images)
        self.finished = self._reusable(runs)
        self.failures = {
            run.get("fingerprint", ""): Failure(f["kind"], f["what"], f.get("hint", ""))
            for run in folder.content().get("runs", [])
            if (f := run.get("failure"))
        }
        self.jobs: dict[str, Job] = {}  # by fingerprint
        self._waiting: list[Job] = []
        self._n_ended = 0

    def _reusable(self, runs: Path) -> dict[str, RunFolder]:
        """The finished run of each planned one, where there is one of the images of today.

        Best in the study's own folder. A run that its time limit ended is known there alone: it
        would end so again, but elsewhere that says nothing.
        """
        known, early = finished_runs(runs), finished_runs(self.folder.path, ended_early=True)
        reusable: dict[str, RunFolder] = {}
        for _, recipe, key, _ in self.planned:
            complete = known.get(key, [])
            complete.sort(key=lambda run: not run.path.is_relative_to(self.folder.path))
            candidates = [*complete, *early.get(key, [])]
            same = [folder for folder in candidates if self._has_same_images(recipe, folder)]
            if same:
                reusable[key] = same[0]
            elif candidates:
                self._log(f"{candidates[0].path} is not taken: the images are others today")
        return reusable

    def _has_same_images(self, recipe: Recipe, folder: RunFolder) -> bool:
        """Whether a run saw the images that its recipe's source has today.

        Also where that source can't be opened: then nothing speaks against it.
        """
        images = self._image_fingerprint(recipe.data)
        return images is None or folder.has_same_data(images)

    def _open_images(self, data: Data) -> str | None:
        try:
            return open_data(data).dataset.fingerprint
        except CifarlabError as error:
            self._log(f"finished runs are taken unseen, since {error.what}")
            return None

    def plan_jobs(self, command: str, resume: bool) -> None:
        """Plan the wanted runs that are neither finished nor known to diverge.

        Raises RunFolderError where one was begun and ``resume`` is not given.
        """
        for row, recipe, key, wanted in self.planned:
            if not wanted or key in self.finished or key in self.jobs:
                continue
            unfinished, failure = self._unfinished_folder(recipe), self.failures.get(key)
            if unfinished and failure and failure.kind == "DivergenceError":
                continue
            if unfinished and not failure and not resume:
                raise unfinished_error(unfinished.path, command)
            self.failures.pop(key, None)
            path = (unfinished or new_folder(recipe, self.folder.path)).path
            self.jobs[key] = Job(row, recipe, str(path), command, self.study)
        self._waiting = list(self.jobs.values())

    def _unfinished_folder(self, recipe: Recipe) -> RunFolder | None:
        """The unfinished run of that recipe and of today's images in the study's folder."""
        with suppress(RunFolderError):
            unfinished = latest_folder(recipe, is_finished=False, runs=self.folder.path)
            return unfinished if self._has_same_images(recipe, unfinished) else None
        return None

    @property
    def progress(self) -> str:
        """Return how many runs have ended, in words."""
        return f"{self._n_ended} of {len(self.jobs)} runs"

    def next_job(self) -> Job | None:
        """Return the next run that was planned."""
        if not self._waiting:
            return None
        job = self._waiting.pop(0)
        n_begun = len(self.jobs) - len(self._waiting)
        if n_begun == 1:
            # decoded once, before several wait for it; each run says itself what is wrong with it
            with suppress(CifarlabError):
                open_data(job.recipe.data, log=self._log)
        self._log(f"{n_begun}/{len(self.jobs)} {job.name}, seed {job.recipe.seed} ...")
        return job

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Go on: each run of a study is trained to its end."""
        return True

    def on_end(self, job: Job, result: JobResult) -> None:
        """Write down how a run ended, and tell it."""
        self._n_ended += 1
        if result.failure:
            self.failures[fingerprint(job.recipe)] = result.failure
            how = f"failed: {result.failure.what}"
        else:
            self.finished[fingerprint(job.recipe)] = RunFolder(job.path)
            how = _score(job.path, self.study.metric)
        self.write()
        seed = job.recipe.seed
        self._log(f"{self._n_ended}/{len(self.jobs)} {job.name}, seed {seed}: {how}")

    @property
    def n_failed(self) -> int:
        """How many of the planned runs have failed."""
        return sum(self._state(planned_run) == "failed" for planned_run in self.planned)

    def compare_finished(self) -> Comparison:
        """Compare all runs that are there.

        Raises UserError where there is none, FailedRunsError where that is because runs failed.
        """
        runs, warnings = read_finished([folder.path for folder in self.finished.values()])
        read = dict(zip(self.finished, runs, strict=True))
        outcomes = []
        for row, recipe, key, _ in self.planned:
            failure = self.failures.get(key)
            why = f"{failure.kind}: {failure.what}" if failure else "not trained yet"
            outcomes.append(
                run_outcome(row, read[key], self.study.metric)
                if key in read
                else Outcome(row, recipe.seed, key, failure=why)
            )
        study, rows = self.study, [row.name for row in self.study.rows]
        try:
            return compare(
                study.name,
                rows,
                study.baseline_name,
                outcomes,
                study.reported,
                self.scale,
                study.metric.facts,
            ).with_notes(warnings)
        except UserError as error:
            if self.n_failed:
                raise FailedRunsError(error.what, error.hint) from error
            raise

    def write(self, comparison: Comparison | None = None) -> None:
        """Replace study.json. Raises StorageError."""
        self.folder.write(
            {
                "study": self.study.model_dump(mode="json"),
                "scale": self.scale,
                "runs": [self._entry(planned_run) for planned_run in self.planned],
                "comparison": as_json(comparison),
            }
        )

    def _state(self, planned_run: PlannedRun) -> str:
        if planned_run.fingerprint in self.finished:
            return "finished"
        return "failed" if planned_run.fingerprint in self.failures else "open"

    def _entry(self, planned_run: PlannedRun) -> dict[str, Any]:
        row, recipe, key, _ = planned_run
        finished = self.finished.get(key)
        return {
            "row": row,
            "seed": recipe.seed,
            "fingerprint": key,
            "state": self._state(planned_run),
            "run": self.folder.relative(finished.path) if finished else None,
            "failure": as_json(self.failures.get(key)),
        }


def _score(path: str, metric: MetricConfig) -> str:
    result = RunFolder(path).result() or {}
    values = {s: result[s]["metrics"].get(metric.name) for s in SPLIT_NAMES if s in result}
    shown = ", ".join(f"{SPLIT_NAMES[s]} {metric.facts.text(v)}" for s, v in values.items())
    early = f", {words}" if (words := describe_early_end(result)) else ""
    return f"{shown} on {result.get('data')} ({result['cost']['train_seconds']:.0f} s){early}"
