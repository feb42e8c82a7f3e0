"""A file with a JSON object in each line, which grows line by line and survives a kill."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cifarlab.run_folder.schemas import make_check
from cifarlab.system.files import append_line, read_json_lines, write_text


class JsonLines:
    """Appends to and reads a file whose lines fit a ``schema``.

    ``hint`` says what to do about a damaged line.
    """

    def __init__(self, path: Path, schema: type[BaseModel], hint: str) -> None:
        self.path = path
        self._hint, self._schema = hint, schema  # which other processes can be sent

    def append(self, line: dict[str, Any]) -> None:
        """Add one line and flush it to the disk.

        Raises:
            StorageError: the disk refused
        """
        append_line(self.path, json.dumps(line))

    def read(self) -> list[dict[str, Any]]:
        """Return all complete lines, oldest first; none where there is no file.

        A last line without a line end is left out: its writer has not finished it, or was killed.

        Raises:
            RunFolderError: a line is damaged
        """
        return read_json_lines(self.path, self._hint, make_check(self._schema))

    def repair(self) -> list[dict[str, Any]]:
        """Remove a last line that a kill cut off; return the others.

        Raises:
            RunFolderError: a line is damaged
            StorageError: the disk refused
        """
        lines = self.read()
        self._keep(lines)
        return lines

    def _keep(self, lines: Sequence[dict[str, Any]]) -> None:
        """Replace the file by some of its lines, unless it has no others."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        if self.path.exists() and self.path.stat().st_size != len(text):
            write_text(self.path, text)
