"""Where trials come from: Ray Tune's OptunaSearch, whose draws are named by (seed, trial number).

So a draw does not depend on what was drawn before it; under TPE it depends on the scores that were
known by then, which the record has in their order. A resumed search asks for the recorded trials
again, tells their ends in the recorded order, and goes on from there.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.event_log import EventLog
from cifarlab.experiments.search.folder import Event
from cifarlab.experiments.search.messages import (
    EPOCH,
    FAILURE,
    FATAL,
    JOB,
    SCORE,
    STOP_REASON,
    TRIAL,
)
from cifarlab.experiments.search.space import Params, suggest_params
from cifarlab.experiments.search.trial_history import (
    Trial,
    TrialStopReason,
    drawn_event,
    ended_event,
)
from cifarlab.experiments.search.trial_session import TrialJob
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import RecipeError
from cifarlab.system.randomness import derived_seed


class _SeededSampler(optuna.samplers.BaseSampler):
    """A sampler that starts from a seed of its own for each trial."""

    def __init__(self, make: Callable[[int], optuna.samplers.BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._sampler = make(0)

    def before_trial(self, study: Any, trial: Any) -> None:
        self._sampler = self._make(derived_seed(self._seed, "search", trial.number) % 2**32)
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return self._sampler.sample_independent(study, trial, name, distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self._sampler.after_trial(study, trial, state, values)


class ParamSampler:
    """Sample the parameters of trials by their number; ``tell`` passes scores to the sampler."""

    def __init__(self, search: Search, base: Recipe) -> None:
        self._search, self._base = search, base
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.InMemoryStorage()
        self._optuna = OptunaSearch(
            space=self._suggest_params,
            metric=SCORE,
            mode=base.evaluation.metric.facts.mode,
            sampler=_SeededSampler(search.sampler.build, search.seed),
            storage=storage,
            study_name=search.name,
        )
        self._study = optuna.load_study(study_name=search.name, storage=storage)
        self._params: Params = {}

    def _suggest_params(self, trial: Any) -> dict[str, Any]:
        self._params = suggest_params(self._search.space, trial, self._base)
        return self._params

    def suggest(self, number: int) -> Params:
        """Return the parameters of the next trial."""
        self._optuna.suggest(str(number))
        return self._params

    def enqueue(self, number: int, params: Params) -> None:
        """Repeat a recorded trial, whatever this version of Optuna would draw."""
        self._study.enqueue_trial(params)
        self.suggest(number)

    def tell(self, number: int, score: float | None) -> None:
        """A trial's end; no score: it failed."""
        result = None if score is None else {SCORE: score}
        self._optuna.on_trial_complete(str(number), result, error=score is None)

    def replay(self, events: Sequence[Event]) -> None:
        """Bring the sampler to where the record ends."""
        for event in events:
            if event["event"] == "drawn":
                self.enqueue(event["trial"], event["params"])
            elif event["event"] == "ended":
                self.tell(event["trial"], None if event["failure"] else event["score"])


class TrialSearcher(Searcher):
    """Give Tune its trials: first the recorded ones that have not ended, then new ones."""

    def __init__(
        self,
        search: Search,
        base: Recipe,
        scale: float,
        event_log: EventLog,
        unfinished: Sequence[Trial],
        threads: int,
    ) -> None:
        super().__init__(metric=SCORE, mode=base.evaluation.metric.facts.mode)
        self._search, self._base, self._scale = search, base, scale
        self._plugins = [plugin.sha256 for plugin in (*search.plugins, *base.plugins)]
        self._event_log, self._threads = event_log, threads
        self._unfinished = list(unfinished)
        self.fatal: list[str] | None = None  # what and hint of an error that ends the search
        self._trial_numbers: dict[str, int] = {}
        self._sampler = ParamSampler(search, base)
        self._sampler.replay(event_log.folder.events())

    def suggest(self, trial_id: str) -> Any:
        """Return the job of the next trial, under Tune's own trial id."""
        trial = self._unfinished.pop(0) if self._unfinished else None
        while trial is None:
            number = len(self._event_log.history.trials)
            if number >= self._search.trials:
                return str(Searcher.FINISHED)
            trial = self._draw_trial(number)
        self._trial_numbers[trial_id] = trial.number
        search = str(self._event_log.folder.path.resolve())
        job = TrialJob(
            trial.number, trial.params, search, self._threads, str(Path.cwd()), self._plugins
        )
        return {TRIAL: trial.number, JOB: json.dumps(job)}

    def _draw_trial(self, number: int) -> Trial | None:
        """Draw a trial; None, and a failure in the record, where its values contradict."""
        params = self._sampler.suggest(number)
        self._event_log.add(drawn_event(number, params))
        try:
            self._search.trial_recipe(params, self._base, self._scale)
        except RecipeError as error:
            failure = {"kind": "RecipeError", "what": error.what, "hint": error.hint}
            self._end_trial(ended_event(number, "failed", 0, None, failure))
            return None
        return self._event_log.history.trials[number]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: samplers learn from ends."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Write a trial's end down; without a result its worker died too often."""
        number = self._trial_numbers.pop(trial_id)
        message = result or {}
        if FATAL in message:
            self.fatal = json.loads(message[FATAL])
            return
        if self._event_log.history.trials[number].stop_reason:  # it only had to be finished
            return
        failure = (
            self._death_failure(number) if error else json.loads(message.get(FAILURE) or "null")
        )
        stop_reason: TrialStopReason = (
            "failed" if failure else message.get(STOP_REASON) or "stopped"
        )
        epochs, score = message.get(EPOCH, 0), message.get(SCORE)
        self._end_trial(
            ended_event(number, stop_reason, epochs, score if epochs else None, failure)
        )

    def _death_failure(self, number: int) -> dict[str, str]:
        error = self._event_log.death_messages.get(number, "for no known reason")
        return {
            "kind": "WorkerDied",
            "what": f"the process that trained it died again and again: {error}",
            "hint": "if memory ran out: fewer --jobs, or a smaller batch or network",
        }

    def _end_trial(self, event: Event) -> None:
        self._event_log.add(event)
        self._sampler.tell(event["trial"], None if event["failure"] else event["score"])

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the record has it all."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record has it all."""
