"""A folder of runs with one JSON file about them all: a study's, a search's."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from cifarlab.run_folder.schemas import Stored, make_check
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import lock_folder, read_json, write_json


class Collection:
    """Paths and files of one collection; cheap to make, reads nothing until asked."""

    what = "collection"  # the word for it; its file is <what>.json
    mend = "restore it"  # what to do where that file is damaged
    schema = Stored  # what that file holds

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.file = self.path / f"{self.what}.json"

    def content(self) -> dict[str, Any]:
        """Return the file's content; empty before the first run. Raises RunFolderError."""
        return read_json(self.file, self.mend, make_check(self.schema)) or {}

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file, whole. Raises StorageError."""
        write_json(self.file, content)

    def in_use(self) -> AbstractContextManager[None]:
        """Hold the folder for one process. Raises RunFolderError where another has it."""
        busy = RunFolderError(
            f"the {self.what} in {self.path} is in use by another process", "wait for it or end it"
        )
        return lock_folder(self.path, busy)
