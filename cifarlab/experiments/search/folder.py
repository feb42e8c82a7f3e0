"""The folder of a search and its files.

runs/searches/<name>/
  search.json           the search, and at the end the table and all results
  search.jsonl          the record: a line per event, flushed before anything depends on it
  trial-000/, ...       ordinary run folders
  plugins/              the plug-in files that the search names
  best.yaml             the best trial's recipe; it opens the test split as the searched one does
  page.md, table.csv, figures/
  studies/              the finalists over seeds, as a study
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from cifarlab.experiments.search import record
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.run_folder.collection import Collection
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.json_lines import JsonLines
from cifarlab.run_folder.schemas import StoredModel, restore

# where a search was begun with something else than it has now
CHANGED_HINT = "restore what was there, or give the search another name to begin anew"


class SearchFile(StoredModel):
    """The content of search.json."""

    search: dict[str, Any] = Field({})
    base: dict[str, Any] = Field({})
    metric: dict[str, Any] = Field({})
    scale: float = 1.0
    command: str = ""
    results: dict[str, Any] | None = None


class SearchFolder(Collection):
    """The paths and files of one search."""

    what = "search"
    folder = "searches"
    schema = SearchFile

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.events = JsonLines(self.path / "search.jsonl", record.AnyEvent, record.DAMAGE_HINT)
        self.best_recipe = self.path / "best.yaml"

    def history(self) -> record.TrialHistory:
        """Return the trials as the record has them.

        Raises:
            RunFolderError: a line of the record is damaged
        """
        return record.TrialHistory(self.events.path, self.events.read())

    def trial(self, number: int) -> RunFolder:
        """Return the run folder of a trial, counted from 0."""
        return RunFolder(self.path / record.trial_name(number))

    @property
    def metric(self) -> MetricFacts:
        """Return the name, direction and unit of the metric that trials are compared by.

        Raises:
            RunFolderError: search.json names no such metric
        """
        what, hint = f"{self.file}: its metric is none of this cifarlab", "restore it"
        facts: MetricFacts = restore(MetricFacts, self.content().get("metric", {}), what, hint)
        return facts
