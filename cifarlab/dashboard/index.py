"""The folder that the dashboard shows: its runs, and the way from a URL to a folder.

Nothing here writes, or locks a file.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cifarlab.config.plugins import approvals_file
from cifarlab.report.groups import name_groups
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import RUN_FILES, Entry, Listing, RunIndex, file_stamp
from cifarlab.system.errors import CifarlabError, PluginError, RunFolderError

FILES = {"run": RUN_FILES, "study": ("study.json",), "search": ("search.json", "search.jsonl")}


class MissingFolderError(RunFolderError):
    """A URL leads to no folder, or to a folder of another kind."""


class Index(RunIndex):
    """The list of runs under ``root``, with notes on those whose plug-ins may not be loaded."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._notes: dict[str, tuple[Any, str]] = {}

    def listing(self) -> Listing:
        """Return all runs, studies, searches and races as they are now."""
        listing = super().listing()
        approvals = file_stamp(approvals_file())
        runs = tuple(self._add_note(run, approvals) for run in listing.runs)
        notes = tuple((run.url_path, run.note) for run in runs if run.note)
        entries = listing.unrecognized_entries + notes
        return listing._replace(runs=runs, unrecognized_entries=entries)

    def _add_note(self, run: Entry, approvals: Any) -> Entry:
        """Return a run's entry, with a note where a plug-in of it may not be loaded."""
        if not run.has_plugins:
            return run
        stamp = (run, approvals)
        if self._notes.get(run.url_path, (None,))[0] != stamp:
            self._notes[run.url_path] = stamp, _find_note(RunFolder(self.root / run.url_path))
        return replace(run, note=self._notes[run.url_path][1])

    def group_names(self, runs: Iterable[Entry]) -> dict[str, str]:
        """Return each group's name: the recipe's, with its settings where others have that name."""
        return name_groups(self, runs)

    def path(self, url_path: str, kind: str = "") -> Path:
        """Return the folder at a URL path: any, or one of a ``kind`` (run, study, search).

        Raises:
            MissingFolderError: it is not under the root, or not of that kind
        """
        try:
            path = (self.root / url_path).resolve()
            is_inside = path.is_relative_to(self.root) and path.is_dir()
        except (OSError, ValueError):  # too long, a NUL
            is_inside = False
        if not is_inside:
            raise MissingFolderError(
                f"there is no folder {url_path!r} under {self.root}",
                "it was moved or deleted, or the address is wrong: go back to the list",
            )
        if kind and not any((path / name).exists() for name in FILES[kind]):
            raise MissingFolderError(
                f"{url_path!r} is no {kind}: it has no {FILES[kind][0]}", "go back to the list"
            )
        return path


def _find_note(folder: RunFolder) -> str:
    """Return why a run's plug-ins may not be loaded, as where somebody else made the run."""
    try:
        folder.recipe()
    except PluginError as error:
        return f"{error.what}; {error.hint}"
    except CifarlabError:  # the run's page shows it
        pass
    return ""
