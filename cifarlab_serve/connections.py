"""How many connections there may be, how long each may keep the server waiting, and its head."""

import asyncio
import json
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from cifarlab_serve.limits import LATER, LINGER_SECONDS
from cifarlab_serve.settings import Limits


def _refuse(status: bytes, error: str, hint: str) -> bytes:
    """Return an answer that no request was read for, in full."""
    problem = json.dumps({"error": error, "hint": hint}).encode()
    return (
        b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%s" % (status, len(problem), problem)
    )


_FULL = _refuse(b"503 Service Unavailable\r\nretry-after: 1", "too many connections at once", LATER)
_MOST_HEAD_BYTES = 2**16  # of a request's head, or its trailers: httptools itself bounds neither
_LONG_HEAD = _refuse(
    b"431 Request Header Fields Too Large",
    f"the request's head has more than {_MOST_HEAD_BYTES:,} bytes",
    "send the image in the body",
)
_MOST_PIPELINED = 16  # requests behind another: with httptools uvicorn would read on without end


class BoundedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's HTTP, with a time for a request's head, and for the rest until its answer is read.

    uvicorn itself bounds only how long a connection is idle between two requests, and with h11,
    not with httptools, how long a head is.
    """

    _timer: asyncio.TimerHandle | None = None
    _is_refused = False
    _n_head_bytes = 0  # since httptools last gave us a whole head, or a part of a body

    def __init__(self, *args: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most, self._head_seconds = limits.connections, limits.timeout
        self._request_seconds = 3 * limits.timeout + LINGER_SECONDS  # body, answer, its way

    def connection_made(self, transport: Any) -> None:
        """Begin, or answer at once that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self._most:
            transport.write(_FULL)
            transport.close()
        self._watch(self._head_seconds)

    def data_received(self, data: bytes) -> None:
        """Hand bytes on; those that end a request's head give it the time for the rest."""
        if self._is_refused:
            return
        before = self.cycle
        self._n_head_bytes += len(data)
        super().data_received(data)
        if hasattr(self, "parser") and self._n_head_bytes > _MOST_HEAD_BYTES:
            self._refuse_head()
        elif len(getattr(self, "pipeline", ())) > _MOST_PIPELINED:
            self.transport.abort()
        elif self.cycle is not before:
            self._watch(self._request_seconds)
        elif self._timer is None:
            self._watch(self._head_seconds)

    def on_headers_complete(self) -> None:
        """Take a head that has ended (called by httptools)."""
        self._n_head_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body (called by httptools)."""
        self._n_head_bytes = 0
        super().on_body(body)

    def on_response_complete(self) -> None:
        """Stop the clock where nothing is left to be read, by either side."""
        super().on_response_complete()
        is_over = self.cycle.response_complete and not self.cycle.more_body
        if is_over and not self.transport.get_write_buffer_size():
            self._unwatch()
        else:
            self._watch(self._request_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._unwatch()
        super().connection_lost(exc)

    def _refuse_head(self) -> None:
        """Answer, and read on for a moment: a client that still sends would lose the answer."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()  # these are trailers, or the head of a request behind another
            return
        self._is_refused = True
        self.transport.write(_LONG_HEAD)
        self.transport.write_eof()
        self._watch(LINGER_SECONDS)

    def _watch(self, seconds: float) -> None:
        self._unwatch()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _unwatch(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = None
