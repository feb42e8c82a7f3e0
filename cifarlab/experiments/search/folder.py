"""The folder of a search, and its record.

runs/searches/<name>/
  search.json           the search, and at the end the table and all results
  search.jsonl          the record: a line per event, flushed before anything depends on it
  trial-000/, ...       ordinary run folders
  plugins/              the plug-in files that the search names
  best.yaml             the best trial's recipe; it opens the test split as the searched one does
  page.md, table.csv, figures/
  studies/              the finalists over seeds, as a study

The record holds three kinds of events. With them, and its run folders, a killed search goes on:

    {"event": "drawn", "trial": 7, "params": {"optimizer.lr": 0.0039, ...}}
    {"event": "rung", "trial": 7, "rung": 4, "epoch": 4, "score": 0.431, "cutoff": 0.450,
     "rank": 3, "n_reached": 5, "stopped": true}
    {"event": "ended", "trial": 7, "stop_reason": "stopped", "epochs": 4, "score": 0.431,
     "failure": null}

``score`` is the best validation value of the metric so far; ``cutoff`` the score that was needed to
go on, null for the first trial at a rung; ``rank`` is from 1, among the ``n_reached`` trials that
had reached the rung by then, this one included.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from cifarlab.experiments.search.definition import Search
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.collection import Collection
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import folder_name
from cifarlab.run_folder.schemas import Count, StoredModel, make_check, restore
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import append_line, read_json_lines, write_text

Event = dict[str, Any]


class SearchFile(StoredModel):
    """The content of search.json."""

    search: dict[str, Any] = Field({})
    base: dict[str, Any] = Field({})
    metric: dict[str, Any] = Field({})
    scale: float = 1.0
    command: str = ""
    results: dict[str, Any] | None = None


class DrawnEvent(StoredModel):
    """A trial was drawn."""

    event: Literal["drawn"]
    trial: Count
    params: dict[str, Any]


class RungEvent(StoredModel):
    """A trial reached a rung."""

    event: Literal["rung"]
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
    failure: dict[str, str] | None


class AnyEvent(
    RootModel[Annotated[DrawnEvent | RungEvent | EndedEvent, Field(discriminator="event")]]
):
    """A line of the record."""


class SearchFolder(Collection):
    """The paths and files of one search."""

    what = "search"
    schema = SearchFile

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.events_file = self.path / "search.jsonl"
        self.best_recipe = self.path / "best.yaml"

    def trial(self, number: int) -> RunFolder:
        """Return the run folder of a trial, counted from 0."""
        return RunFolder(self.path / trial_name(number))

    @property
    def metric(self) -> MetricFacts:
        """Return the name, direction and unit of the metric that trials are compared by.

        Raises:
            RunFolderError: search.json names no such metric
        """
        what, hint = f"{self.file}: its metric is none of this cifarlab", "restore it"
        facts: MetricFacts = restore(MetricFacts, self.content().get("metric", {}), what, hint)
        return facts

    def append_event(self, event: Event) -> None:
        """Add an event to the record and flush it to the disk.

        Raises:
            StorageError: the disk can't be written to
        """
        append_line(self.events_file, json.dumps(event))

    def events(self) -> list[Event]:
        """Return all complete lines of the record, oldest first.

        A last line without its end is being written, or was when the driver was killed.

        Raises:
            RunFolderError: a line is damaged
        """
        hint = "restore it, or search anew elsewhere"
        events = read_json_lines(self.events_file, hint, make_check(AnyEvent))
        drawn_trials: set[int] = set()
        for event in events:
            if event["event"] == "drawn":
                drawn_trials.add(event["trial"])
            elif event["trial"] not in drawn_trials:
                name = trial_name(event["trial"])
                raise RunFolderError(f"{self.events_file} is damaged: {name} was never drawn", hint)
        return events

    def repair(self) -> None:
        """Remove a last line that a kill cut off.

        Raises:
            RunFolderError: a line is damaged
            StorageError: the disk can't be written to
        """
        text = "".join(json.dumps(event) + "\n" for event in self.events())
        if self.events_file.exists() and self.events_file.stat().st_size != len(text):
            write_text(self.events_file, text)


def trial_name(number: int) -> str:
    """Return a trial's name in tables, the page and run folders."""
    return f"trial-{number:03d}"


def search_folder(
    search: Search, scale: float, data: str | None, runs: Path = RUNS
) -> SearchFolder:
    """Return a search's folder; another scale or other data than the recipe's make another folder.

    Args:
        search: the search
        scale: fraction of the training images and epochs
        data: ``data.source`` where it is not the recipe's own
        runs: folder of the runs
    """
    return SearchFolder(runs / "searches" / folder_name(search.name, scale, data))
