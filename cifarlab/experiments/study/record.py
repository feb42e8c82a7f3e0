"""The record of a study's runs, kept in study.json."""

from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.opening import open_data
from cifarlab.experiments.engine import Experiment, Log, unfinished_error
from cifarlab.experiments.study.by_image import with_wear
from cifarlab.experiments.study.columns import measure_columns
from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.outcomes import failed_outcome, find_warnings, run_outcome
from cifarlab.experiments.study.plan import SeenRuns, StudyPlan, make_plan, require_same_plan
from cifarlab.experiments.study.price import Question, find_earlier_runs, quote
from cifarlab.experiments.study.reuse import ReusableRuns
from cifarlab.experiments.worker import Job, JobResult
from cifarlab.metrics.kinds import MetricConfig
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.naming import latest_folder, new_folder
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData, read_runs
from cifarlab.run_folder.schemas import as_json
from cifarlab.stats.sequential import FIRST_LOOK
from cifarlab.system.errors import CifarlabError, FailedRunsError, RunFolderError, UserError


class PlannedRun(NamedTuple):
    """A run of the study; ``is_selected`` is false for rows that are not trained this time."""

    row: str
    recipe: Recipe
    fingerprint: str
    is_selected: bool


class StudyRecord(Experiment):
    """The runs of a study as an experiment of the engine, written to study.json as they change.

    ``finished_folders`` and ``failures`` are by the fingerprints of the planned runs. Where rows
    get seeds until they are decided, the runs of a seed are planned after a look at those before:
    what a look sees follows from the runs alone, whoever was killed in between. Workers that would
    wait for the look begin with later seeds; where it decides the row, these runs are not used.
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
        self._reusable = ReusableRuns(runs, folder.path, log)
        candidates = {run.fingerprint: self._reusable.find(run.recipe) for run in planned_runs}
        self.finished_folders = {key: run for key, run in candidates.items() if run}
        self.failures = {run.fingerprint: run.failure for run in folder.runs() if run.failure}
        self._callbacks = study.only_callbacks()
        self.jobs: dict[str, Job] = {}  # by fingerprint
        self._waiting: list[Job] = []
        self._n_ended = 0
        groups = groupby(planned_runs, key=lambda run: run.recipe.seed)
        by_seed = [list(runs_of_seed) for _, runs_of_seed in groups]
        n_first = FIRST_LOOK if study.until == "decided" else len(by_seed)
        self._groups = [[*chain(*by_seed[:n_first])], *by_seed[n_first:]]
        self._compared_runs: list[PlannedRun] = []
        self._next_runs: list[PlannedRun] | None = None  # None: to be found by a look
        self._run_data: dict[str, RunData] = {}
        self.plan = self._settle_plan()

    def _settle_plan(self) -> StudyPlan:
        """Return the plan in study.json, or where no epoch has ended yet, a new one.

        Raises:
            UserError: this study has results of another plan
        """
        recipes = {run.row: run.recipe for run in self.planned_runs}
        plan = make_plan(self.study, recipes, SeenRuns())
        others, old_plan = self.folder.same_questions(plan), self.folder.plan()
        if old_plan and self._has_results():
            require_same_plan(old_plan, plan, self.folder.path, others)
            return old_plan
        return make_plan(self.study, recipes, self._find_seen_runs(), len(others))

    def _has_results(self) -> bool:
        """Return whether a run has ended, or shown an epoch."""
        is_listed = any(run.run for run in self.folder.runs())
        logs = self.folder.path.glob("*/metrics.jsonl")
        has_epoch = any(log.stat().st_size for log in logs)
        return is_listed or has_epoch or any(self.folder.path.glob("*/result.json"))

    def _find_seen_runs(self) -> SeenRuns:
        """Return which of the planned runs are there, and how many recipes have such runs."""
        baseline = self.study.baseline_name
        rows = [run.row for run in self.planned_runs if run.fingerprint in self.finished_folders]
        n_baseline = rows.count(baseline)
        if len(rows) == n_baseline:
            return SeenRuns(0, n_baseline)
        base = next(run.recipe for run in self.planned_runs if run.row == baseline)
        n_recipes = self._reusable.count_recipes(base, {r.recipe.seed for r in self.planned_runs})
        return SeenRuns(len(rows) - n_baseline, n_baseline, n_recipes)

    def quote(self) -> list[str]:
        """Return lines about what the study will cost, from the runs that are there."""
        study = self.study
        recipes = {run.row: run.recipe for run in self.planned_runs if run.is_selected}
        seeds = {run.recipe.seed for run in self.planned_runs}
        earlier = find_earlier_runs(
            recipes,
            study.baseline_name,
            seeds,
            self._reusable.find,
            study.metric.name,
        )
        n_tests = max(len(study.rows) - 1, self.plan.n_recipes_seen)
        margin = self.plan.margin_of(study.metric.facts)
        n_seeds = study.max_seeds, study.until == "seeds"
        question = Question(self.plan.plan, margin, study.metric.facts, n_tests, *n_seeds)
        return quote(question, study.baseline_name, earlier)

    def plan_jobs(self, command: str, resume: bool) -> None:
        """Plan the selected runs that are neither finished nor known to diverge.

        Where seeds are added until rows are decided: those before the first look, or of the first
        seed after it that has such runs.

        Raises:
            RunFolderError: a run is unfinished and ``resume`` is false
        """
        self._command, self._resume = command, resume
        self._plan_next()

    def _plan_next(self) -> None:
        """Plan the next runs, of the rows that are open after the seeds before."""
        while self._groups and not self._waiting:
            if self._next_runs is None:
                open_rows = self._find_open_rows()
                self._next_runs = [run for run in self._groups[0] if run.row in open_rows]
            self._waiting = self._make_jobs(self._next_runs)
            if self._waiting:
                return
            if any(self._is_training(run) for run in self._next_runs):
                self._plan_ahead({run.row for run in self._next_runs})
                return
            self._compared_runs += self._next_runs
            self._groups = self._groups[1:] if self._next_runs else []
            self._next_runs = None

    def _plan_ahead(self, rows: Collection[str]) -> None:
        """Plan the next run of these rows that comes after the next look."""
        for run in chain(*self._groups[1:]):
            if run.row in rows and not self._waiting:
                self._waiting = self._make_jobs([run])

    def _is_training(self, run: PlannedRun) -> bool:
        return run.fingerprint in self.jobs and self._state(run) == "open"

    def _find_open_rows(self) -> Collection[str]:
        """Return the rows that get a next seed, and the baseline; none where all are decided."""
        rows = [row.name for row in self.study.rows]
        seeds = {run.recipe.seed for run in self._compared_runs}
        if self.study.until == "seeds" or len(seeds) < FIRST_LOOK:
            return rows
        selected_rows = {run.row for run in self.planned_runs if run.is_selected}
        with suppress(UserError):  # nothing has finished: so there is nothing to go on with
            comparison = self._compare()
            if self.jobs:
                self._log(f"after {len(seeds)} seeds: {_describe_look(comparison)}")
            undecided = {r.name for r in comparison.rows if r.pairs and not r.is_decided}
            return {self.study.baseline_name, *undecided} if undecided & selected_rows else ()
        return ()

    def _make_jobs(self, runs: list[PlannedRun]) -> list[Job]:
        """Return the jobs of the selected runs that are to be trained.

        Raises:
            RunFolderError: a run is unfinished and ``resume`` is false
        """
        jobs: dict[str, Job] = {}
        for row, recipe, key, is_selected in runs:
            if not is_selected or key in self.finished_folders:
                continue
            if key in self.jobs or key in jobs:
                continue
            unfinished, failure = self._unfinished_folder(recipe), self.failures.get(key)
            if failure and ((unfinished and failure.is_final) or self._is_overtaken(row, recipe)):
                continue
            if unfinished and not failure and not self._resume:
                raise unfinished_error(unfinished.path, self._command)
            self.failures.pop(key, None)
            path = (unfinished or new_folder(recipe, self.folder.path)).path.resolve()
            jobs[key] = Job(row, recipe, str(path), self._command, self._callbacks)
        self.jobs |= jobs
        return list(jobs.values())

    def _is_overtaken(self, row: str, recipe: Recipe) -> bool:
        """Return whether later seeds of a row have finished, and so may have been looked at."""
        return self.study.until == "decided" and any(
            run.row == row and run.recipe.seed > recipe.seed
            for run in self.planned_runs
            if run.fingerprint in self.finished_folders
        )

    def _unfinished_folder(self, recipe: Recipe) -> RunFolder | None:
        """Return the recipe's unfinished run on today's images in the study's folder."""
        with suppress(RunFolderError):
            unfinished = latest_folder(recipe, is_finished=False, runs=self.folder.path)
            return unfinished if self._reusable.has_same_images(recipe, unfinished) else None
        return None

    @property
    def progress(self) -> str:
        """Return how many runs have ended, in words."""
        return f"{self._n_ended} of {len(self.jobs)} runs"

    def next_job(self) -> Job | None:
        """Return the next planned run."""
        if not self._waiting:
            self._plan_next()
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

    def on_end(self, job: Job, result: JobResult) -> None:
        """Record the end of a run and log it."""
        self._n_ended += 1
        if failure := result.failure:
            self.failures[fingerprint(job.recipe)] = failure
            how = f"failed: {failure.what}"
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
        """Compare the finished runs; of a row that was decided, those until then.

        Raises:
            UserError: no run is finished
            FailedRunsError: no run is finished because runs failed
        """
        try:
            comparison = self._compare()
        except UserError as error:
            if self.n_failed:
                raise FailedRunsError(error.what, error.hint) from error
            raise
        by_row = defaultdict[str, list[RunData]](list)
        for run in self._compared_runs:
            if data := self._run_data.get(run.fingerprint):
                by_row[run.row].append(data)
        notes = [*find_warnings(list(self._run_data.values())), *self.plan.notes()]
        columns, level, metric = self.study.columns, self.study.level, self.study.metric.facts
        measure = partial(measure_columns, columns, level, comparison.split, metric)
        comparison = comparison.with_notes(notes).with_runs(by_row, measure)
        return with_wear(comparison, [self._runs], self.plan.time)[0]

    def _compare(self) -> Comparison:
        """Compare the runs up to the last look. Raises UserError."""
        study, keys = self.study, dict.fromkeys(run.fingerprint for run in self._compared_runs)
        paths = {
            key: self.finished_folders[key].path
            for key in keys
            if key in self.finished_folders and key not in self._run_data
        }
        if paths:
            runs = read_runs([*paths.values()], predictions=False)
            self._run_data |= zip(paths, runs, strict=True)
        return compare(
            study.name,
            [row.name for row in study.rows],
            study.baseline_name,
            [self._outcome(run) for run in self._compared_runs],
            study.reported,
            self.scale,
            study.metric.facts,
            self.plan.plan,
            self.plan.margin_of(study.metric.facts),
            self.plan.n_recipes_seen,
        )

    def _outcome(self, run: PlannedRun) -> Outcome:
        if data := self._run_data.get(run.fingerprint):
            return run_outcome(run.row, data, self.study.metric)
        return failed_outcome(run.row, run.recipe.seed, self.failures.get(run.fingerprint))

    def write(self, comparison: Comparison | None = None) -> None:
        """Replace study.json.

        Raises:
            StorageError: the file can't be written
        """
        self.folder.write(
            {
                "study": self.study.model_dump(mode="json"),
                "scale": self.scale,
                "plan": self.plan.model_dump(mode="json"),
                "runs": [self._entry(run) for run in self.planned_runs if self._is_needed(run)],
                "comparison": as_json(comparison and comparison._replace(runs=())),
            }
        )

    def _is_needed(self, run: PlannedRun) -> bool:
        """Return whether a planned run was begun or looked at; of fixed seeds, each is needed."""
        is_listed = self.study.until == "seeds" or run.fingerprint in self.jobs
        return is_listed or run in self._compared_runs

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


def _describe_look(comparison: Comparison) -> str:
    words = []
    for row in comparison.rows:
        p = row.same_p if row.verdict.startswith("the same") else row.p
        if row.name != comparison.baseline:
            words.append(f"{row.name}: {row.verdict}" + ("" if p is None else f" (p = {p:.2g})"))
    return "; ".join(words)


def _describe_score(path: str, metric: MetricConfig) -> str:
    result = RunFolder(path).result() or {}
    values = {s: result[s]["metrics"].get(metric.name) for s in SPLIT_NAMES if s in result}
    scores = ", ".join(f"{SPLIT_NAMES[s]} {metric.facts.text(v)}" for s, v in values.items())
    note = f", {words}" if (words := describe_early_end(result)) else ""
    return f"{scores} on {result.get('data')} ({result['cost']['train_seconds']:.0f} s){note}"
