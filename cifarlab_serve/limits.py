"""What a request may cost, and what all of them may hold in memory at once."""

import asyncio
import hmac
import ipaddress
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request

from cifarlab_serve.settings import Limits

LINGER_SECONDS = 2.0  # a body is read so long after its refusal: clients send before they listen
LATER = "try again in a second"
_COPIES = 2  # of a body: what came, and the image files as they are handed to Pillow


class RefusalError(Exception):
    """A request is refused: a status, ``what`` is wrong and what to do."""

    def __init__(self, status: int, what: str, hint: str) -> None:
        super().__init__(status, what, hint)
        self.status, self.what, self.hint = status, what, hint


class UnreadRefusalError(RefusalError):
    """A request is refused before its body was read to the end."""


class Admission:
    """Takes requests in while there is room for them."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.n_requests = self.n_bytes = self.n_pixels = 0
        self._lock = Lock()  # a thread that has decoded gives pixels back

    @contextmanager
    def admit(self, request: Request) -> Iterator["Body"]:
        """Let a request in for the time of the block.

        Raises:
            UnreadRefusalError: there are too many
        """
        if self.n_requests >= self._limits.requests:
            raise UnreadRefusalError(503, "too many requests at once", LATER)
        body = Body(request, self, self._limits)
        self.n_requests += 1
        try:
            yield body
        finally:
            self.n_requests -= 1
            body.release()

    def take_pixels(self, n: int) -> None:
        """Count pixels that are to be decoded.

        Raises:
            RefusalError: there is no room for them, now or ever
        """
        most = self._limits.held_pixels
        if n > most:
            what = f"the images have {n:,} pixels together, more than {most:,}"
            raise RefusalError(413, what, "send fewer at once, or scale them down")
        with self._lock:
            if self.n_pixels + n > most:
                raise RefusalError(503, "too many pixels at once", LATER)
            self.n_pixels += n

    def return_pixels(self, n: int) -> None:
        """Count them no longer; from any thread."""
        with self._lock:
            self.n_pixels -= n


class Body:
    """A request's body as it comes; its bytes count until ``release``."""

    def __init__(self, request: Request, admission: Admission, limits: Limits) -> None:
        self._request, self._admission, self._limits = request, admission, limits
        self._n_bytes = self._n_held = 0

    def release(self) -> None:
        """Count its bytes no longer."""
        self._admission.n_bytes -= self._n_held
        self._n_held = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Yield the body's bytes.

        Raises:
            RefusalError: they are too many, by themselves or with those of other requests
            ClientDisconnect: the client has left
        """
        limits, has_more = self._limits, True
        while has_more:
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk, has_more = message.get("body", b""), message.get("more_body", False)
            refusal = UnreadRefusalError if has_more else RefusalError
            self._n_bytes += len(chunk)
            if self._n_bytes > limits.body_bytes:
                what = f"the body has more than {limits.body_bytes:,} bytes"
                raise refusal(413, what, "send less at once")
            n_held = _COPIES * len(chunk)
            if self._admission.n_bytes + n_held > limits.held_bytes:
                raise refusal(503, "too many bytes at once", LATER)
            self._admission.n_bytes += n_held
            self._n_held += n_held
            yield chunk


async def discard_body(request: Request) -> None:
    """Read what is left of a body, for a moment, so that its sender gets to read the answer."""
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(LINGER_SECONDS):
            has_more = True
            while has_more:
                has_more = (await request.receive()).get("more_body", False)


def require_token(request: Request, token: str | None) -> None:
    """Refuse a request without the token, compared in constant time.

    Without a token, refuse one under a name that is not this machine's (DNS rebinding).

    Raises:
        UnreadRefusalError: the request is refused
    """
    if token is None:
        host = request.headers.get("host", "")
        if not is_loopback(_name_in(host)):
            what = f"without a token the server does not answer under the name {host[:200]!r}"
            raise UnreadRefusalError(403, what, "ask 127.0.0.1, or start it with a token")
        return
    header = request.headers.get("authorization", "").encode("utf-8", "replace")
    if not hmac.compare_digest(header, f"Bearer {token}".encode()):
        hint = "send it as the header 'Authorization: Bearer TOKEN'"
        raise UnreadRefusalError(401, "that is not the server's token", hint)


def _name_in(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:  # a bracket without its other half
        return ""


def is_loopback(host: str) -> bool:
    """Return whether an address can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
