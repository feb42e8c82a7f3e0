"""Standard output that may fail: the disk is full, or its reader has ended."""

import os
from contextlib import suppress
from typing import Any, TextIO


class Output:
    """A text stream that keeps its first error instead of raising it.

    So a training goes on, and files are written, where nobody reads the output any more. What the
    stream's encoding lacks is written as an escape.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.failure: OSError | None = None
        # there is none where it was closed: cifarlab ... >&-
        self._stream = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123

    def write(self, text: str) -> int:
        """Write what can be written."""
        encoding = self._stream.encoding or "utf-8"
        try:
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Flush what can be written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Write to the null device from here on: what is buffered would fail again at the exit."""
        self.failure = self.failure or error
        with suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
