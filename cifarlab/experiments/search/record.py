"""The record of a search: its events, and the state of each trial that follows from them.

The driver adds events to it; tables and figures read it. It holds three kinds of events. With them,
and its run folders, a killed search goes on:

    {"event": "drawn", "trial": 7, "params": {"optimizer.lr": 0.0039, ...}}
    {"event": "rung", "trial": 7, "rung": 4, "epoch": 4, "score": 0.431, "cutoff": 0.450,
     "rank": 3, "n_reached": 5, "stopped": true}
    {"event": "ended", "trial": 7, "stop_reason": "stopped", "epochs": 4, "score": 0.431,
     "failure": null}

``score`` is the best validation value of the metric so far; ``cutoff`` the score that was needed to
go on, null for the first trial at a rung; ``rank`` is from 1, among the ``n_reached`` trials that
had reached the rung by then, this one included.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from cifarlab.experiments.search.space import Params
from cifarlab.experiments.worker import Failure
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.run_folder.schemas import Count, StoredModel
from cifarlab.system.errors import RunFolderError

Event = dict[str, Any]
DAMAGE_HINT = "restore it, or search anew elsewhere"
_STOP_REASONS = {
    "planned": "ran to its end",
    "early_stopping": "ended by early stopping",
    "max_time": "ended by its time limit",
    None: "not finished",
}


class DrawnEvent(StoredModel):
    """A trial was drawn."""

    event: Literal["drawn"]
    trial: Count
    params: dict[str, Any]


class RungDecision(StoredModel):
    """A trial reached a rung, and whether it goes on was decided."""

    event: Literal["rung"] = "rung"
    trial: Count
    rung: Count
    epoch: Count
    score: float
    cutoff: float | None
    rank: Count
    n_reached: Count
    stopped: bool


class EndedEvent(StoredModel):
    """A trial ended."""

    event: Literal["ended"]
    trial: Count
    stop_reason: Literal["planned", "stopped", "early_stopping", "max_time", "failed"]
    epochs: Count
    score: float | None
    failure: Failure | None


class AnyEvent(
    RootModel[Annotated[DrawnEvent | RungDecision | EndedEvent, Field(discriminator="event")]]
):
    """A line of the record."""


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
    failure: Failure | None = None
    best_epoch: int | None = None
    train_accuracy: float | None = None

    @property
    def is_ranked(self) -> bool:
        """Return whether it has a score that counts."""
        return self.score is not None and self.failure is None

    @property
    def stopped(self) -> bool:
        """Return whether a rung has ended it."""
        return any(decision.stopped for decision in self.rung_decisions)


class TrialHistory:
    """All trials by number, in the order in which they were drawn; ``file`` is the record."""

    def __init__(self, file: Path, events: Iterable[Event] = ()) -> None:
        self._file = file
        self.trials: dict[int, Trial] = {}
        self._decisions: defaultdict[int, dict[int, RungDecision]] = defaultdict(dict)
        for event in events:
            self.add(event)

    def decisions_at(self, rung: int) -> dict[int, RungDecision]:
        """Return the decisions at a rung by trial, in the order in which they were made."""
        return self._decisions[rung]

    def add(self, event: Event) -> None:
        """Apply an event of the record.

        Raises:
            RunFolderError: it is of a trial that was never drawn
        """
        number = event["trial"]
        if event["event"] == "drawn":
            self.trials[number] = Trial(number, event["params"])
            return
        if not (trial := self.trials.get(number)):
            what = f"{self._file} is damaged: {trial_name(number)} was never drawn"
            raise RunFolderError(what, DAMAGE_HINT)
        if event["event"] == "rung":
            decision = RungDecision.model_validate(event)
            trial.rung_decisions.append(decision)
            self._decisions[decision.rung][number] = decision
            return
        end = EndedEvent.model_validate(event)
        trial.stop_reason, trial.failure = end.stop_reason, end.failure
        trial.epochs, trial.score = end.epochs, end.score

    def ranking(self, metric: MetricFacts) -> list[Trial]:
        """Return the trials, the best first; failed ones and those without a score are last.

        Of equal scores the trial drawn first is first.
        """

        def sort_key(trial: Trial) -> tuple[bool, float, int]:
            return not trial.is_ranked, -metric.sign * (trial.score or 0.0), trial.number

        return sorted(self.trials.values(), key=sort_key)


def describe_end(trial: Trial, metric: MetricFacts) -> str:
    """Return how a trial ended, in words: of a stop the rung, the score, the cut-off, the rank."""
    if trial.failure:
        return f"failed: {trial.failure.what}"
    stop = next((decision for decision in trial.rung_decisions if decision.stopped), None)
    if not stop:
        return _STOP_REASONS[trial.stop_reason]
    cutoff = "" if stop.cutoff is None else f" {metric.text(stop.cutoff)} needed,"
    return (
        f"stopped at rung {stop.rung}: {metric.text(stop.score)},{cutoff}"
        f" rank {stop.rank} of {stop.n_reached}"
    )


def trial_name(number: int) -> str:
    """Return a trial's name in tables, the page and run folders."""
    return f"trial-{number:03d}"
