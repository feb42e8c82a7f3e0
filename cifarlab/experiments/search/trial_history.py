"""What is known of each trial: the record's events, and the run folders' metrics logs.

Pure but for reading; the driver adds to it, whoever explains a search reads it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from cifarlab.experiments.search.folder import Event
from cifarlab.experiments.search.space import Values

Why = Literal["planned", "stopped", "patience", "budget", "failed"]


class Verdict(NamedTuple):
    """What happened to a trial at one rung; see search.folder."""

    rung: int
    epoch: int
    score: float
    cutoff: float | None
    rank: int
    of: int
    stopped: bool


@dataclass
class Trial:
    """One trial; ``why`` it ended is None while it has not.

    ``score`` is the highest validation accuracy, 0..1, of its ``epochs``; None before the first.
    """

    number: int
    values: Values
    verdicts: list[Verdict] = field(default_factory=list)
    why: Why | None = None
    epochs: int = 0
    score: float | None = None
    failure: dict[str, str] | None = None

    @property
    def stopped(self) -> bool:
        """Whether a rung has ended it."""
        return any(verdict.stopped for verdict in self.verdicts)


class Ledger:
    """All trials by number, in the order in which they were drawn."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.trials: dict[int, Trial] = {}
        self.verdicts: list[tuple[int, Verdict]] = []  # as they came, each with its trial
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take one event of the record into account."""
        number = event["trial"]
        if event["event"] == "drawn":
            self.trials[number] = Trial(number, event["values"])
            return
        trial = self.trials[number]
        if event["event"] == "rung":
            verdict = Verdict(**{name: event[name] for name in Verdict._fields})
            trial.verdicts.append(verdict)
            self.verdicts.append((number, verdict))
            return
        trial.why, trial.failure = event["why"], event["failure"]
        trial.epochs, trial.score = event["epochs"], event["score"]

    def ranked(self) -> list[Trial]:
        """The best first; failed ones and those without a score last; ties: the first drawn."""

        def place(trial: Trial) -> tuple[bool, float, int]:
            bad = trial.failure is not None or trial.score is None
            return bad, -(trial.score or 0.0), trial.number

        return sorted(self.trials.values(), key=place)


def drawn(number: int, values: Values) -> Event:
    """The event of a new trial."""
    return {"event": "drawn", "trial": number, "values": values}


def judged(number: int, verdict: Verdict) -> Event:
    """The event of a trial at a rung."""
    return {"event": "rung", "trial": number, **verdict._asdict()}


def ended(number: int, why: Why, epochs: int, score: float | None, failure: Any = None) -> Event:
    """The event of a trial's end; ``failure`` has the keys of study.workers.Failure."""
    return {
        "event": "ended",
        "trial": number,
        "why": why,
        "epochs": epochs,
        "score": score,
        "failure": failure,
    }
