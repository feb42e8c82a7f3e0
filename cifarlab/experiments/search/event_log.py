"""Log the events of a search: to the disk, into the trial history, and as a line to the user."""

from collections.abc import Callable

from cifarlab.experiments.search.folder import Event, SearchFolder, trial_name
from cifarlab.experiments.search.space import format_value
from cifarlab.experiments.search.trial_history import TrialHistory
from cifarlab.metrics.kinds import MetricFacts

Log = Callable[[str], None]


class EventLog:
    """Record the events of a search that is running; ``history`` holds its trials so far."""

    def __init__(self, folder: SearchFolder, log: Log) -> None:
        folder.repair()
        self.folder = folder
        self.history = TrialHistory(folder.events())
        self.death_messages: dict[int, str] = {}  # what Ray said when a trial's worker last died
        self._log, self._metric = log, folder.metric

    def add(self, event: Event) -> None:
        """Write an event to the disk before anything depends on it. Raises StorageError."""
        self.folder.append_event(event)
        self.history.add(event)
        if message := describe_event(event, self._metric):
            self._log(message)


def describe_event(event: Event, metric: MetricFacts) -> str:
    """Return an event as a line of text; empty for events that are not shown."""
    name = trial_name(event["trial"])
    if event["event"] == "drawn":
        return f"{name}: {', '.join(f'{k}={format_value(v)}' for k, v in event['params'].items())}"
    if event["event"] == "rung":
        return f"{name} stopped {describe_stop(event, metric)}" if event["stopped"] else ""
    if event["failure"]:
        return f"{name} failed: {event['failure']['what']}"
    if event["stop_reason"] == "stopped":
        return ""
    return f"{name} ended after {event['epochs']} epochs: {metric.text(event['score'])}"


def describe_stop(rung: Event, metric: MetricFacts) -> str:
    """Return why a rung stopped a trial: the rung, its score, the cut-off, its rank."""
    needed = "" if rung["cutoff"] is None else f" {metric.text(rung['cutoff'])} needed,"
    return (
        f"at rung {rung['rung']}: {metric.text(rung['score'])},{needed}"
        f" rank {rung['rank']} of {rung['n_reached']}"
    )
