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

from cifarlab.experiments.search.definition import Search, TPESampler
from cifarlab.experiments.search.event_log import Notes
from cifarlab.experiments.search.folder import Event
from cifarlab.experiments.search.messages import EPOCH, FAILURE, FATAL, JOB, SCORE, TRIAL, WHY
from cifarlab.experiments.search.space import Values, draw
from cifarlab.experiments.search.trial_history import Trial, Why, drawn, ended
from cifarlab.experiments.search.trial_session import Job
from cifarlab.recipes.schema import Recipe
from cifarlab.system.errors import RecipeError
from cifarlab.system.randomness import derived_seed


class _Named(optuna.samplers.BaseSampler):
    """A sampler that starts from a seed of its own for each trial."""

    def __init__(self, make: Callable[[int], optuna.samplers.BaseSampler], seed: int) -> None:
        self._make, self._seed = make, seed
        self._now = make(0)

    def before_trial(self, study: Any, trial: Any) -> None:
        self._now = self._make(derived_seed(self._seed, "search", trial.number) % 2**32)
        self._now.before_trial(study, trial)

    def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
        return self._now.infer_relative_search_space(study, trial)

    def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
        return self._now.sample_relative(study, trial, search_space)

    def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
        return self._now.sample_independent(study, trial, name, distribution)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self._now.after_trial(study, trial, state, values)


class Points:
    """Points of the space by trial number; told of scores, for the samplers that learn."""

    def __init__(self, search: Search, base: Recipe) -> None:
        self._search, self._base = search, base
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        storage = optuna.storages.InMemoryStorage()
        self._optuna = OptunaSearch(
            space=self._draw,
            metric=SCORE,
            mode="max",
            sampler=_Named(self._sampler, search.seed),
            storage=storage,
            study_name=search.name,
        )
        self._study = optuna.load_study(study_name=search.name, storage=storage)
        self._drawn: Values = {}

    def _sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        of = self._search.sampler
        if isinstance(of, TPESampler):
            return optuna.samplers.TPESampler(seed=seed, n_startup_trials=of.n_startup_trials)
        return optuna.samplers.RandomSampler(seed)

    def _draw(self, by: Any) -> dict[str, Any]:
        self._drawn = draw(self._search.space, by, self._base)
        return self._drawn

    def draw(self, number: int) -> Values:
        """The point of the next trial."""
        self._optuna.suggest(str(number))
        return self._drawn

    def redraw(self, number: int, values: Values) -> None:
        """The next trial as it was drawn once, whatever this version of Optuna would draw."""
        self._study.enqueue_trial(values)
        self.draw(number)

    def tell(self, number: int, score: float | None) -> None:
        """A trial's end; no score: it failed."""
        result = None if score is None else {SCORE: score}
        self._optuna.on_trial_complete(str(number), result, error=score is None)

    def replay(self, events: Sequence[Event]) -> None:
        """Bring the sampler to where the record ends."""
        for event in events:
            if event["event"] == "drawn":
                self.redraw(event["trial"], event["values"])
            elif event["event"] == "ended":
                self.tell(event["trial"], None if event["failure"] else event["score"])


class Draws(Searcher):
    """What Tune asks for trials: those of the record that have not ended, then new ones."""

    def __init__(
        self,
        search: Search,
        base: Recipe,
        scale: float,
        notes: Notes,
        begun: Sequence[Trial],
        threads: int,
    ) -> None:
        super().__init__(metric=SCORE, mode="max")
        self._search, self._base, self._scale = search, base, scale
        self._notes, self._threads = notes, threads
        self._begun = list(begun)
        self.fatal: list[str] | None = None  # what and hint of an error that ends the search
        self._numbers: dict[str, int] = {}
        self._points = Points(search, base)
        self._points.replay(notes.folder.events())

    def suggest(self, trial_id: str) -> Any:
        """What a worker is told of the next trial; Tune numbers trials its own way."""
        trial = self._begun.pop(0) if self._begun else None
        while trial is None:
            number = len(self._notes.ledger.trials)
            if number >= self._search.trials:
                return str(Searcher.FINISHED)
            trial = self._new(number)
        self._numbers[trial_id] = trial.number
        search = str(self._notes.folder.path.resolve())
        job = Job(trial.number, trial.values, search, self._threads, str(Path.cwd()))
        return {TRIAL: trial.number, JOB: json.dumps(job)}

    def _new(self, number: int) -> Trial | None:
        """Draw a trial; None, and a failure in the record, where its values contradict."""
        values = self._points.draw(number)
        self._notes.add(drawn(number, values))
        try:
            self._search.drawn(values, self._base, self._scale)
        except RecipeError as error:
            failure = {"kind": "RecipeError", "what": error.what, "hint": error.hint}
            self._end(ended(number, "failed", 0, None, failure))
            return None
        return self._notes.ledger.trials[number]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: samplers learn from ends."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Write a trial's end down; without a result its worker died too often."""
        number = self._numbers.pop(trial_id)
        told = result or {}
        if FATAL in told:
            self.fatal = json.loads(told[FATAL])
            return
        if self._notes.ledger.trials[number].why:  # it only had to be finished
            return
        failure = self._death(number) if error else json.loads(told.get(FAILURE) or "null")
        why: Why = "failed" if failure else told.get(WHY) or "stopped"
        epochs, score = told.get(EPOCH, 0), told.get(SCORE)
        self._end(ended(number, why, epochs, score if epochs else None, failure))

    def _death(self, number: int) -> dict[str, str]:
        said = self._notes.deaths.get(number, "for no known reason")
        return {
            "kind": "WorkerDied",
            "what": f"the process that trained it died again and again: {said}",
            "hint": "if memory ran out: fewer --jobs, or a smaller batch or network",
        }

    def _end(self, event: Event) -> None:
        self._notes.add(event)
        self._points.tell(event["trial"], None if event["failure"] else event["score"])

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the record has it all."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record has it all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record has it all."""
