"""The state of each trial, from the record's events.

The driver adds events to it; tables and figures read it.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cifarlab.experiments.search.folder import Event
from cifarlab.experiments.search.space import Params
from cifarlab.metrics.kinds import MetricFacts


class RungDecision(NamedTuple):
    """A decision about a trial at a rung; see search.folder."""

    rung: int
    epoch: int
    score: float
    cutoff: float | None
    rank: int
    n_reached: int
    stopped: bool


@dataclass
class Trial:
    """A trial; ``stop_reason`` is None while it has not ended.

    ``score`` is the best validation metric of its ``epochs``; None before the first. That was in
    ``best_epoch``, whose training accuracy is ``train_accuracy``; the record has neither.
    """

    number: int
    params: Params
    rung_decisions: list[RungDecision] = field(default_factory=list)
    stop_reason: str | None = None
    epochs: int = 0
    score: float | None = None
    failure: dict[str, str] | None = None
    best_epoch: int | None = None
    train_accuracy: float | None = None

    @property
    def stopped(self) -> bool:
        """Return whether a rung has ended it."""
        return any(decision.stopped for decision in self.rung_decisions)


class TrialHistory:
    """All trials by number, in the order in which they were drawn."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[int, Trial] = {}
        self._decisions: defaultdict[int, dict[int, RungDecision]] = defaultdict(dict)
        for event in events:
            self.add(event)

    def decisions_at(self, rung: int) -> dict[int, RungDecision]:
        """Return the decisions at a rung by trial, in the order in which they were made."""
        return self._decisions[rung]

    def add(self, event: Event) -> None:
        """Apply an event of the record."""
        number = event["trial"]
        if event["event"] == "drawn":
            self.trials[number] = Trial(number, event["params"])
            return
        trial = self.trials[number]
        if event["event"] == "rung":
            decision = RungDecision(**{name: event[name] for name in RungDecision._fields})
            trial.rung_decisions.append(decision)
            self._decisions[decision.rung][number] = decision
            return
        trial.stop_reason, trial.failure = event["stop_reason"], event["failure"]
        trial.epochs, trial.score = event["epochs"], event["score"]

    def ranking(self, metric: MetricFacts) -> list[Trial]:
        """Return the trials, the best first; failed ones and those without a score are last.

        Of equal scores the trial drawn first is first.
        """

        def sort_key(trial: Trial) -> tuple[bool, float, int]:
            is_unranked = trial.failure is not None or trial.score is None
            return is_unranked, -metric.sign * (trial.score or 0.0), trial.number

        return sorted(self.trials.values(), key=sort_key)


def describe_stop(rung: Event, metric: MetricFacts) -> str:
    """Return how a rung stopped a trial: the rung, its score, the cut-off, its rank."""
    cutoff = "" if rung["cutoff"] is None else f" {metric.text(rung['cutoff'])} needed,"
    return (
        f"at rung {rung['rung']}: {metric.text(rung['score'])},{cutoff}"
        f" rank {rung['rank']} of {rung['n_reached']}"
    )
