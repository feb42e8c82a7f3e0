"""What is known of each run of a study, kept in study.json as it changes."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.config import Data
from cifarlab.data.opening import open_data
from cifarlab.experiments.engine import Ending, Failure, Job, Log, resume_command
from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.definition import SPLIT_NAMES, Study
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.outcomes import read_finished, run_outcome
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
    """The runs of a study as an experiment of the engine, kept in study.json as they change."""

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
        self.jobs: dict[str, Job] = {}  # by fingerprint
        self._waiting: list[Job] = []
        self._n_ended = 0
        self._image_fingerprints: dict[
            Data, str | None
        ] = {}  # fingerprints, as far as they were asked for
        self.finished = self._reusable(runs)
        stored_runs = folder.content().get("runs", [])
        self.failures = {
            run.get("fingerprint", ""): Failure(f["kind"], f["what"], f.get("hint", ""))
            for run in stored_runs
            if (f := run.get("failure"))
        }

    def _reusable(self, runs: Path) -> dict[str, RunFolder]:
        """The finished run of each planned one, where there is one of the images of today.

        Best in the study's own folder. A run that its time limit ended is known there alone: it
        would end so again, but elsewhere that says nothing.
        """
        known, early = finished_runs(runs), finished_runs(self.folder.path, early=True)
        reusable: dict[str, RunFolder] = {}
        for planned_run in self.planned:
            complete = sorted(known.get(planned_run.fingerprint, ()), key=self._is_elsewhere)
            candidates = [*complete, *early.get(planned_run.fingerprint, ())]
            same = [folder for folder in candidates if self._has_same_images(planned_run, folder)]
            if same:
                reusable[planned_run.fingerprint] = same[0]
            elif candidates:
                self._log(f"{candidates[0].path} is not taken: the images are others today")
        return reusable

    def _is_elsewhere(self, folder: RunFolder) -> bool:
        return not folder.path.is_relative_to(self.folder.path)

    def _has_same_images(self, planned_run: PlannedRun, folder: RunFolder) -> bool:
        """Whether a run saw the images that its recipe's source has today.

        Also where that source can't be opened: then nothing speaks against it.
        """
        data = planned_run.recipe.data
        if data not in self._image_fingerprints:
            self._image_fingerprints[data] = self._fingerprint(data)
        fingerprint = self._image_fingerprints[data]
        return fingerprint is None or folder.has_same_data(fingerprint)

    def _fingerprint(self, data: Data) -> str | None:
        try:
            return open_data(data).dataset.fingerprint
        except CifarlabError as error:
            self._log(f"finished runs are taken unseen, since {error.what}")
            return None

    def plan_jobs(self, command: str, resume: bool) -> None:
        """Plan the wanted runs that are neither finished nor known to diverge.

        Raises RunFolderError where one was begun and ``resume`` is not given.
        """
        for planned_run in self.planned:
            if not planned_run.wanted or planned_run.fingerprint in self.finished:
                continue
            unfinished = self._unfinished_folder(planned_run)
            failure = self.failures.get(planned_run.fingerprint)
            if unfinished and failure and failure.kind == "DivergenceError":
                continue
            if unfinished and not failure and not resume:
                raise RunFolderError(
                    f"{unfinished.path} was begun and is not finished",
                    f"go on with: {resume_command(command)}",
                )
            self.failures.pop(planned_run.fingerprint, None)
            path = (unfinished or new_folder(planned_run.recipe, self.folder.path)).path
            self.jobs.setdefault(
                planned_run.fingerprint,
                Job(planned_run.row, planned_run.recipe, str(path), command, self.study),
            )
        self._waiting = list(self.jobs.values())

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

    def on_end(self, job: Job, ending: Ending) -> None:
        """Write down how a run ended, and tell it."""
        self._n_ended += 1
        if ending.failure:
            self.failures[fingerprint(job.recipe)] = ending.failure
            how = f"failed: {ending.failure.what}"
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
        folders = [folder.path for folder in self.finished.values()]
        runs, warnings = read_finished(folders)
        read = dict(zip(self.finished, runs, strict=True))
        outcomes = [self._outcome(planned_run, read) for planned_run in self.planned]
        rows = [row.name for row in self.study.rows]
        try:
            comparison = compare(
                self.study.name,
                rows,
                self.study.baseline_name,
                outcomes,
                self.study.reported,
                self.scale,
                self.study.metric.facts,
            )
        except UserError as error:
            if self.n_failed:
                raise FailedRunsError(error.what, error.hint) from error
            raise
        return comparison.with_notes(warnings)

    def _outcome(self, planned_run: PlannedRun, read: dict[str, Any]) -> Outcome:
        if planned_run.fingerprint in read:
            return run_outcome(planned_run.row, read[planned_run.fingerprint], self.study.metric)
        failure = self.failures.get(planned_run.fingerprint)
        why = f"{failure.kind}: {failure.what}" if failure else "not trained yet"
        return Outcome(
            planned_run.row, planned_run.recipe.seed, planned_run.fingerprint, failure=why
        )

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
        finished, failure = (
            self.finished.get(planned_run.fingerprint),
            self.failures.get(planned_run.fingerprint),
        )
        return {
            "row": planned_run.row,
            "seed": planned_run.recipe.seed,
            "fingerprint": planned_run.fingerprint,
            "state": self._state(planned_run),
            "run": self.folder.relative(finished.path) if finished else None,
            "failure": failure and failure._asdict(),
        }

    def _unfinished_folder(self, planned_run: PlannedRun) -> RunFolder | None:
        """The unfinished run of that recipe and of today's images in the study's folder."""
        try:
            unfinished = latest_folder(planned_run.recipe, finished=False, runs=self.folder.path)
        except RunFolderError:
            return None
        return unfinished if self._has_same_images(planned_run, unfinished) else None


def _score(path: str, metric: MetricConfig) -> str:
    result = RunFolder(path).result() or {}
    values = {s: result[s]["metrics"].get(metric.name) for s in SPLIT_NAMES if s in result}
    shown = [f"{SPLIT_NAMES[s]} {metric.facts.text(value)}" for s, value in values.items()]
    early = [describe_early_end(result)] if describe_early_end(result) else []
    where = f"on {result.get('data')} ({result['cost']['train_seconds']:.0f} s)"
    return ", ".join([f"{', '.join(shown)} {where}", *early])
