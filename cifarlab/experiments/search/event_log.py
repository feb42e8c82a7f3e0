"""The driver's notes: each event goes to the disk, into the ledger and, in words, to the user."""

from collections.abc import Callable

from cifarlab.experiments.search.folder import Event, SearchFolder, trial_name
from cifarlab.experiments.search.space import label
from cifarlab.experiments.search.trial_history import Ledger

Tell = Callable[[str], None]


class Notes:
    """The ledger of a search that is under way."""

    def __init__(self, folder: SearchFolder, tell: Tell) -> None:
        folder.repair()
        self.folder = folder
        self.ledger = Ledger(folder.events())
        self.deaths: dict[int, str] = {}  # what Ray said when a trial's worker last died
        self._tell = tell

    def add(self, event: Event) -> None:
        """Write an event down before anything follows from it. Raises StorageError."""
        self.folder.note(event)
        self.ledger.add(event)
        if words := said(event):
            self._tell(words)


def said(event: Event) -> str:
    """An event in a line; empty where it is not worth one."""
    name = trial_name(event["trial"])
    if event["event"] == "drawn":
        return f"{name}: {', '.join(f'{k}={label(v)}' for k, v in event['values'].items())}"
    if event["event"] == "rung":
        return f"{name} stopped {stopped_words(event)}" if event["stopped"] else ""
    if event["failure"]:
        return f"{name} failed: {event['failure']['what']}"
    if event["stop_reason"] == "stopped":
        return ""
    return f"{name} ended after {event['epochs']} epochs: {100 * event['score']:.2f} %"


def stopped_words(rung: Event) -> str:
    """Why a rung stopped a trial: where, its score, what was needed, its rank."""
    return (
        f"at rung {rung['rung']}: {100 * rung['score']:.2f} %, {100 * rung['cutoff']:.2f} % needed,"
        f" rank {rung['rank']} of {rung['of']}"
    )
