"""What is known of each trial: the record's events, and the run folders' metrics logs.

Pure but for reading; the driver adds to it, whoever explains a search reads it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cifarlab.experiments.search.folder import Event
from cifarlab.experiments.search.space import Params
from cifarlab.metrics.kinds import MetricFacts

TrialStopReason = Literal["planned", "stopped", "early_stopping", "max_time", "failed"]


class RungDecision(NamedTuple):
    """What happened to a trial at one rung; see search.folder."""

    rung: int
    epoch: int
    score: float
    cutoff: float | None
    rank: int
    n_reached: int
    stopped: bool


@dataclass
class Trial:
    """One trial; ``stop_reason`` is None while it has not ended.

    ``score`` is the best validation metric of its ``epochs``; None before the first.
    """

    number: int
    params: Params
    rung_decisions: list[RungDecision] = field(default_factory=list)
    stop_reason: TrialStopReason | None = None
    epochs: int = 0
    score: float | None = None
    failure: dict[str, str] | None = None

    @property
    def stopped(self) -> bool:
        """Whether a rung has ended it."""
        return any(decision.stopped for decision in self.rung_decisions)


class TrialHistory:
    """All trials by number, in the order in which they were drawn."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[int, Trial] = {}
        self.rung_decisions: list[
            tuple[int, RungDecision]
        ] = []  # as they came, each with its trial
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take one event of the record into account."""
        number = event["trial"]
        if event["event"] == "drawn":
            self.trials[number] = Trial(number, event["params"])
            return
        trial = self.trials[number]
        if event["event"] == "rung":
            decision = RungDecision(**{name: event[name] for name in RungDecision._fields})
            trial.rung_decisions.append(decision)
            self.rung_decisions.append((number, decision))
            return
        trial.stop_reason, trial.failure = event["stop_reason"], event["failure"]
        trial.epochs, trial.score = event["epochs"], event["score"]

    def ranking(self, metric: MetricFacts) -> list[Trial]:
        """The best first; failed ones and those without a score last; ties: the first drawn."""

        def sort_key(trial: Trial) -> tuple[bool, float, int]:
            bad = trial.failure is not None or trial.score is None
            return bad, -metric.sign * (trial.score or 0.0), trial.number

        return sorted(self.trials.values(), key=sort_key)


def drawn_event(number: int, params: Params) -> Event:
    """The event of a new trial."""
    return {"event": "drawn", "trial": number, "params": params}


def rung_event(number: int, decision: RungDecision) -> Event:
    """The event of a trial at a rung."""
    return {"event": "rung", "trial": number, **decision._asdict()}


def ended_event(
    number: int, stop_reason: TrialStopReason, epochs: int, score: float | None, failure: Any = None
) -> Event:
    """The event of a trial's end; ``failure`` has the keys of study.workers.Failure."""
    return {
        "event": "ended",
        "trial": number,
        "stop_reason": stop_reason,
        "epochs": epochs,
        "score": score,
        "failure": failure,
    }
