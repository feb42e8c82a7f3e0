"""The record of a study's runs, kept in study.json."""

from collections import defaultdict
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.config import Data
from cifarlab.data.opening import open_data
from cifarlab.experiments.engine import Log, unfinished_error
from cifarlab.experiments.study.by_image import with_wear
from cifarlab.experiments.study.columns import measure_columns
from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.outcomes import read_finished, run_outcome
from cifarlab.experiments.worker import Failure, Job, JobResult
from cifarlab.experiments.writing import as_json
from cifarlab.metrics.kinds import MetricConfig
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.naming import finished_runs, latest_folder, new_folder
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData
from cifarlab.system.errors import CifarlabError, FailedRunsError, RunFolderError, UserError


class PlannedRun(NamedTuple):
    """A run of the study; ``is_selected`` is false for rows that are not trained this time."""

    row: str
    recipe: Recipe
    fingerprint: str
    is_selected: bool


class StudyRecord:
    """The runs of a study as an experiment of the engine, written to study.json as they change.

    ``finished_folders`` and ``failures`` are by the fingerprints of the planned runs.
    """

    def __init__(
        self,
        study: Study,
        scale: float,
        planned_runs: list[PlannedRun],
        folder: StudyFolder,
        runs: Path,
        log: Log,
    ) -> None:
        self.study, self.scale, self.planned_runs, self.folder = study, scale, planned_runs, folder
        self._log, self._runs = log, runs
        self._image_fingerprint = cache(self._open_images)
        self.finished_folders = self._find_reusable_runs(runs)
        self.failures = {
            run.get("fingerprint", ""): Failure(f["kind"], f["what"], f.get("hint", ""))
            for run in folder.content().get("runs", [])
            if (f := run.get("failure"))
        }
        self.jobs: dict[str, Job] = {}  # by fingerprint
        self._waiting: list[Job] = []
        self._n_ended = 0

    def _find_reusable_runs(self, runs: Path) -> dict[str, RunFolder]:
        """Return by fingerprint the planned runs that have finished on the same images.

        Runs in the study's own folder come first. A run that its time limit ended is reused from
        there only: this study would end it again, but another one may have another limit.
        """
        full_runs = finished_runs(runs)
        early_runs = finished_runs(self.folder.path, ended_early=True)
        reusable: dict[str, RunFolder] = {}
        for _, recipe, key, _ in self.planned_runs:
            complete = full_runs.get(key, [])
            complete.sort(key=lambda run: not run.path.is_relative_to(self.folder.path))
            candidates = [*complete, *early_runs.get(key, [])]
            usable = (folder for folder in candidates if self._has_same_images(recipe, folder))
            if folder := next(usable, None):
                reusable[key] = folder
            elif candidates:
                self._log(f"{candidates[0].path} is not taken: the images are others today")
        return reusable

    def _has_same_images(self, recipe: Recipe, folder: RunFolder) -> bool:
        """Return whether a run was trained on the images that its recipe's source has today.

        True also where that source can't be opened, since nothing shows that they differ.
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
        """Plan the selected runs that are neither finished nor known to diverge.

        Raises:
            RunFolderError: a run is unfinished and ``resume`` is false
        """
        for row, recipe, key, is_selected in self.planned_runs:
            if not is_selected or key in self.finished_folders or key in self.jobs:
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
        """Return the recipe's unfinished run on today's images in the study's folder."""
        with suppress(RunFolderError):
            unfinished = latest_folder(recipe, is_finished=False, runs=self.folder.path)
            return unfinished if self._has_same_images(recipe, unfinished) else None
        return None

    @property
    def progress(self) -> str:
        """Return how many runs have ended, in words."""
        return f"{self._n_ended} of {len(self.jobs)} runs"

    def next_job(self) -> Job | None:
        """Return the next planned run."""
        if not self._waiting:
            return None
        job = self._waiting.pop(0)
        n_begun = len(self.jobs) - len(self._waiting)
        if n_begun == 1:
            # decode the images once, before several runs wait for them; an error is each run's own
            with suppress(CifarlabError):
                open_data(job.recipe.data, log=self._log)
        self._log(f"{n_begun}/{len(self.jobs)} {job.name}, seed {job.recipe.seed} ...")
        return job

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Return True: each run of a study is trained to its end."""
        return True

    def on_end(self, job: Job, result: JobResult) -> None:
        """Record the end of a run and log it."""
        self._n_ended += 1
        if result.failure:
            self.failures[fingerprint(job.recipe)] = result.failure
            how = f"failed: {result.failure.what}"
        else:
            self.finished_folders[fingerprint(job.recipe)] = RunFolder(job.path)
            how = _describe_score(job.path, self.study.metric)
        self.write()
        seed = job.recipe.seed
        self._log(f"{self._n_ended}/{len(self.jobs)} {job.name}, seed {seed}: {how}")

    @property
    def n_failed(self) -> int:
        """Return how many of the planned runs have failed."""
        return sum(self._state(planned_run) == "failed" for planned_run in self.planned_runs)

    def compare_finished(self) -> Comparison:
        """Compare all finished runs.

        Raises:
            UserError: no run is finished
            FailedRunsError: no run is finished because runs failed
        """
        runs, warnings = read_finished([folder.path for folder in self.finished_folders.values()])
        by_fingerprint = dict(zip(self.finished_folders, runs, strict=True))
        outcomes, by_row = [], defaultdict[str, list[RunData]](list)
        for row, recipe, key, _ in self.planned_runs:
            if key in by_fingerprint:
                by_row[row].append(by_fingerprint[key])
            failure = self.failures.get(key)
            reason = f"{failure.kind}: {failure.what}" if failure else "not trained yet"
            outcomes.append(
                run_outcome(row, by_fingerprint[key], self.study.metric)
                if key in by_fingerprint
                else Outcome(row, recipe.seed, key, failure=reason)
            )
        study, rows = self.study, [row.name for row in self.study.rows]
        try:
            comparison = compare(
                study.name,
                rows,
                study.baseline_name,
                outcomes,
                study.reported,
                self.scale,
                study.metric.facts,
            )
        except UserError as error:
            if self.n_failed:
                raise FailedRunsError(error.what, error.hint) from error
            raise
        measure = partial(measure_columns, study.columns, study.level, comparison.split)
        comparison = comparison.with_notes(warnings).with_runs(by_row, measure)
        return with_wear(comparison, [self._runs])[0]

    def write(self, comparison: Comparison | None = None) -> None:
        """Replace study.json.

        Raises:
            StorageError: the file can't be written
        """
        self.folder.write(
            {
                "study": self.study.model_dump(mode="json"),
                "scale": self.scale,
                "runs": [self._entry(planned_run) for planned_run in self.planned_runs],
                "comparison": as_json(comparison and comparison._replace(runs=())),
            }
        )

    def _state(self, planned_run: PlannedRun) -> str:
        if planned_run.fingerprint in self.finished_folders:
            return "finished"
        return "failed" if planned_run.fingerprint in self.failures else "open"

    def _entry(self, planned_run: PlannedRun) -> dict[str, Any]:
        row, recipe, key, _ = planned_run
        folder = self.finished_folders.get(key)
        return {
            "row": row,
            "seed": recipe.seed,
            "fingerprint": key,
            "state": self._state(planned_run),
            "run": self.folder.relative(folder.path) if folder else None,
            "failure": as_json(self.failures.get(key)),
        }


def _describe_score(path: str, metric: MetricConfig) -> str:
    result = RunFolder(path).result() or {}
    values = {s: result[s]["metrics"].get(metric.name) for s in SPLIT_NAMES if s in result}
    scores = ", ".join(f"{SPLIT_NAMES[s]} {metric.facts.text(v)}" for s, v in values.items())
    note = f", {words}" if (words := describe_early_end(result)) else ""
    return f"{scores} on {result.get('data')} ({result['cost']['train_seconds']:.0f} s){note}"
