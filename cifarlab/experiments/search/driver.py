"""A running search: it draws trials, decides at rungs, and records each event before acting on it.

Optuna draws with a seed from (search seed, trial number), so a draw does not depend on earlier
draws. Under TPE it depends on the scores so far, which the record has in their order; so do
decisions. A resumed search replays the record and goes on.
"""

import math
from bisect import bisect_right, insort
from collections import defaultdict
from typing import Any

from cifarlab.experiments.engine import Experiment, Log, unfinished_error
from cifarlab.experiments.search import record
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.folder import CHANGED_HINT, SearchFolder
from cifarlab.experiments.search.space import Params, format_value, suggest_params
from cifarlab.experiments.worker import Failure, Job, JobResult
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.system.errors import CifarlabError, RecipeError, RunFolderError
from cifarlab.system.randomness import derived_seed


class ParamSampler:
    """Draw the parameters of one trial after another; ``tell`` passes scores to the sampler."""

    def __init__(self, search: Search, base: Recipe) -> None:
        import optuna

        self._search, self._base, self._states = search, base, optuna.trial.TrialState
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        maximize = base.evaluation.metric.facts.higher_is_better
        self._study = optuna.create_study(direction="maximize" if maximize else "minimize")
        self._open_trials: dict[int, Any] = {}

    def suggest(self, number: int) -> Params:
        """Return the parameters of the next trial, drawn by a sampler with its own seed."""
        seed = derived_seed(self._search.seed, "search", number) % 2**32
        self._study.sampler = self._search.sampler.build(seed)
        trial = self._open_trials[number] = self._study.ask()
        return suggest_params(self._search.space, trial, self._base)

    def repeat(self, number: int, params: Params) -> None:
        """Repeat a recorded trial, independent of what this version of Optuna would draw."""
        self._study.enqueue_trial(params)
        self.suggest(number)

    def tell(self, number: int, score: float | None) -> None:
        """Pass a trial's score to the sampler; a trial without a score has failed."""
        state = self._states.FAIL if score is None else None
        self._study.tell(self._open_trials.pop(number), score, state)


class SearchDriver(Experiment):
    """The trials of a search as an experiment of the engine; ``history`` has them so far.

    Resumed, it takes up also the trials that have failed, but might not fail again.

    Raises StorageError where an event can't be recorded.
    """

    def __init__(
        self,
        search: Search,
        base: Recipe,
        scale: float,
        folder: SearchFolder,
        command: str,
        log: Log,
        resume: bool = False,
    ) -> None:
        self.folder, self.history = folder, record.TrialHistory(folder.events.path)
        self.search, self._base, self._scale = search, base, scale
        self._command, self._log, self._resume = command, log, resume
        self._metric, self._rungs = base.evaluation.metric.facts, search.rungs(scale)
        self._callbacks = search.only_callbacks()
        self._scores_at = defaultdict[int, list[float]](list)  # by rung, ascending; more is better
        self._trials: dict[str, record.Trial] = {}
        self._sampler = ParamSampler(search, base)
        for event in folder.events.repair():
            if event["event"] == "drawn":
                self._sampler.repeat(event["trial"], event["params"])
            self._apply(event)
        for trial in self.history.trials.values():
            if resume and trial.failure and not trial.failure.is_final:
                trial.stop_reason = trial.failure = None
        self._waiting = self.unfinished_trials

    def require_resumable(self) -> None:
        """Refuse unfinished trials without ``resume``, and other images than earlier trials had.

        This decodes the images once, before many workers need them. Images that can't be opened
        are no error where no trial is left to train.

        Raises:
            DataError: the images of the trials to train can't be opened
            RunFolderError: a trial is unfinished, or has other images
        """
        from cifarlab.data.opening import open_data

        if self.unfinished_trials and not self._resume:
            path = self.folder.trial(self.unfinished_trials[0].number).path
            raise unfinished_error(path, self._command)
        try:
            images = open_data(self._base.data, log=self._log if self.n_pending else None).dataset
        except CifarlabError:
            if self.n_pending:
                raise
            return
        if not all(
            self.folder.trial(n).has_same_data(images.fingerprint) for n in self.history.trials
        ):
            what = f"the images are not those that {self.folder.path} was begun with"
            raise RunFolderError(what, CHANGED_HINT)

    @property
    def unfinished_trials(self) -> list[record.Trial]:
        """Return the trials that have begun and not ended."""
        return [trial for trial in self.history.trials.values() if not trial.stop_reason]

    @property
    def n_pending(self) -> int:
        """Return how many trials are still to train."""
        n_new = self.search.trials - len(self.history.trials)
        return len(self.unfinished_trials) + max(0, n_new)

    @property
    def progress(self) -> str:
        """Return how many trials have ended, in words."""
        n_ended = len(self.history.trials) - len(self.unfinished_trials)
        return f"{n_ended} of {self.search.trials} trials"

    def next_job(self) -> Job | None:
        """Return the next trial: first the recorded ones that have not ended, then new ones."""
        while self._waiting or len(self.history.trials) < self.search.trials:
            if not self._waiting:
                number = len(self.history.trials)
                self._add_event("drawn", number, params=self._sampler.suggest(number))
                self._waiting = [self.history.trials[number]]
            trial = self._waiting.pop(0)
            try:
                recipe = self._trial_recipe(trial)
            except RecipeError as error:  # its values contradict each other
                self._end(trial, JobResult(failure=Failure("RecipeError", error.what, error.hint)))
                continue
            folder = self.folder.trial(trial.number).path
            self._trials[path := str(folder.resolve())] = trial
            return Job(folder.name, recipe, path, self._command, self._callbacks)
        return None

    def _trial_recipe(self, trial: record.Trial) -> Recipe:
        """Return a trial's recipe, which keeps the test split closed. Raises RecipeError."""
        name = f"{self.search.name}/{record.trial_name(trial.number)}"
        recipe = self.search.trial_recipe(trial.params, self._base, self._scale)
        return change(recipe, {"name": name, "evaluation.test": False}, name)

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Record a trial's best score so far, and decide at a rung whether it goes on."""
        trial, score = self._trials[job.path], line["val"][self._metric.name]
        if trial.score is not None:
            score = self._metric.sign * max(self._metric.sign * s for s in (score, trial.score))
        trial.epochs, trial.score = line["epoch"], score
        is_decided = trial.number in self.history.decisions_at(trial.epochs)
        if trial.epochs in self._rungs and not is_decided:
            self._add_event("rung", trial.number, **self._decide(trial.epochs, score))
        return not trial.stopped

    def _decide(self, rung: int, score: float) -> dict[str, Any]:
        """Return what is decided about a score at a rung, given the earlier scores there."""
        sign, earlier = self._metric.sign, self._scores_at[rung]
        cutoff = self.search.scheduler.cutoff(earlier)
        limit = None if cutoff is None else sign * cutoff
        rank = 1 + len(earlier) - bisect_right(earlier, sign * score)
        counts = {"rank": rank, "n_reached": 1 + len(self.history.decisions_at(rung))}
        stopped = cutoff is not None and sign * score < cutoff
        facts = {"rung": rung, "epoch": rung, "score": score, "cutoff": limit}
        return {**facts, **counts, "stopped": stopped}

    def on_end(self, job: Job, result: JobResult) -> None:
        """Record a trial's end and pass its score to the sampler."""
        self._end(self._trials[job.path], result)

    def _end(self, trial: record.Trial, result: JobResult) -> None:
        failure = result.failure and result.failure._asdict()
        end = {"stop_reason": result.stop_reason, "epochs": trial.epochs, "score": trial.score}
        self._add_event("ended", trial.number, **end, failure=failure)

    def _add_event(self, kind: str, number: int, **content: Any) -> None:
        """Write an event to the disk before anything depends on it."""
        event = {"event": kind, "trial": number, **content}
        self.folder.events.append(event)
        self._apply(event)
        if message := _describe(event, self.history.trials[number], self._metric):
            self._log(message)

    def _apply(self, event: record.Event) -> None:
        """Let later decisions and draws follow from an event; from no failure that is not final."""
        self.history.add(event)
        trial = self.history.trials[event["trial"]]
        if event["event"] == "rung" and not math.isnan(event["score"]):
            insort(self._scores_at[event["rung"]], self._metric.sign * event["score"])
        if event["event"] == "ended" and (not trial.failure or trial.failure.is_final):
            self._sampler.tell(trial.number, None if trial.failure else trial.score)


def _describe(event: record.Event, trial: record.Trial, metric: MetricFacts) -> str:
    """Return an event of a trial as a line of text; empty for events that are not logged."""
    name = record.trial_name(trial.number)
    if event["event"] == "drawn":
        return f"{name}: {', '.join(f'{k}={format_value(v)}' for k, v in event['params'].items())}"
    if trial.failure or event.get("stopped"):
        return f"{name} {record.describe_end(trial, metric)}"
    if event["event"] == "rung" or trial.stop_reason == "stopped":
        return ""
    return f"{name} ended after {trial.epochs} epochs: {metric.text(trial.score)}"
