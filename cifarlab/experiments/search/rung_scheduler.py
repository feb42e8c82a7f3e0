"""A scheduler of Ray Tune's, called with the trial's number, each decision written down first.

Its own state dies with the driver (Ray does not save schedulers). It is a function of the scores
that came to each rung in their order, which the record has: a resumed search feeds them to a new
one. Trials keep their numbers, while Tune gives a resumed one another id.
"""

from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.event_log import EventLog
from cifarlab.experiments.search.messages import EPOCH, SCORE, TRIAL
from cifarlab.experiments.search.trial_history import RungDecision, TrialHistory, rung_event
from cifarlab.metrics.kinds import ACCURACY, MetricFacts


class RungScheduler(FIFOScheduler):
    """Decide after each epoch whether a trial goes on; ``event_log`` keeps the decisions."""

    def __init__(
        self, search: Search, scale: float, event_log: EventLog, metric: MetricFacts = ACCURACY
    ) -> None:
        super().__init__()
        self._metric = SCORE
        self._sign = metric.sign  # what decides is told that more is better
        self._event_log = event_log
        self._last = search.epochs(scale)
        self._rungs = search.rungs(scale)
        self._scores: dict[int, dict[int, float]] = {rung: {} for rung in self._rungs}
        self._config = search.scheduler
        self._inner: Any = self._config.build(self._last, scale) if self._rungs else None
        self._ended: list[Any] = []
        self._replay(event_log.history)

    def _replay(self, history: TrialHistory) -> None:
        """Bring the scheduler to where the record ends: the scores in their order."""
        for number, rung_decision in history.rung_decisions:
            self._add_trial(number)
            self._scores[rung_decision.rung][number] = rung_decision.score
            self._decide(number, rung_decision.epoch, rung_decision.score)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial begins or goes on."""
        self._clear_ended()
        self._add_trial(trial.config[TRIAL])

    def _clear_ended(self) -> None:
        """Drop Tune's statistics of trials that have ended: three quarters of what it keeps."""
        for trial in self._ended:
            trial.metric_analysis.clear()
            trial.metric_n_steps.clear()
        self._ended.clear()

    def _add_trial(self, number: int) -> None:
        if self._inner:
            self._inner.on_trial_add(None, SimpleNamespace(trial_id=number))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Decide after an epoch; a repeated message of a resumed trial gets the same answer."""
        number, epoch, score = trial.config[TRIAL], result[EPOCH], result[SCORE]
        if self._event_log.history.trials[number].stopped:
            return str(TrialScheduler.STOP)
        rung = self._due_rung(number, epoch)
        if rung is None or epoch >= self._last:  # nothing is left to be saved
            return str(TrialScheduler.CONTINUE)
        earlier_scores = list(self._scores[rung].values())
        decision = self._decide(number, epoch, score)
        if decision == TrialScheduler.STOP:
            self._ended.append(trial)
        self._scores[rung][number] = score
        rung_decision = RungDecision(
            rung,
            epoch,
            score,
            self._cutoff(earlier_scores),
            1 + sum(self._sign * (other - score) > 0 for other in earlier_scores),
            len(earlier_scores) + 1,
            decision == TrialScheduler.STOP,
        )
        self._event_log.add(rung_event(number, rung_decision))
        return decision

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Remember what Ray says of a worker that died."""
        lines = str(trial.get_error() or "").strip().splitlines() or ["for no known reason"]
        error = lines[-1] if "Error" in lines[-1] else lines[0]
        self._event_log.death_messages[trial.config[TRIAL]] = error[:200]

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Forget a trial that has ended, but not its scores."""
        self._ended.append(trial)
        if self._inner:
            self._inner.on_trial_remove(None, SimpleNamespace(trial_id=trial.config[TRIAL]))

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leave the order to Tune, which starts waiting trials first come, first served.

        FIFOScheduler's own answer is the same, but walks over all trials at every event.
        """

    def _due_rung(self, number: int, epoch: int) -> int | None:
        """The highest rung that a trial has reached, unless it was decided there."""
        reached = max((rung for rung in self._rungs if rung <= epoch), default=None)
        return None if reached is None or number in self._scores[reached] else reached

    def _decide(self, number: int, epoch: int, score: float) -> str:
        result = {EPOCH: epoch, SCORE: self._sign * score}
        return str(self._inner.on_trial_result(None, SimpleNamespace(trial_id=number), result))

    def _cutoff(self, earlier_scores: list[float]) -> float | None:
        cutoff = self._config.cutoff([self._sign * score for score in earlier_scores])
        return None if cutoff is None else self._sign * cutoff
