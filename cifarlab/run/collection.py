"""A folder of runs with one JSON file about them all: a study's, a search's."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cifarlab.errors import RunFolderError
from cifarlab.storage import held, write_text


class Collection:
    """Paths and files of one collection; cheap to make, reads nothing until asked."""

    what = "collection"  # the word for it; its file is <what>.json
    mend = "restore it"  # what to do where that file is damaged

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.file = self.path / f"{self.what}.json"

    def content(self) -> dict[str, Any]:
        """What the file says; empty before the first run. Raises RunFolderError."""
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunFolderError(f"can't read {self.file}: {error}", self.mend) from error
        if not isinstance(content, dict):
            raise RunFolderError(f"{self.file} holds no JSON object", self.mend)
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file, whole. Raises StorageError."""
        write_text(self.file, json.dumps(content, indent=2) + "\n")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the folder for one process. Raises RunFolderError where another has it."""
        busy = RunFolderError(
            f"the {self.what} in {self.path} is in use by another process", "wait for it or end it"
        )
        with held(self.path, busy):
            yield
