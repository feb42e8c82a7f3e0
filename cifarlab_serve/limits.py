"""What a request may cost, and what all of them may hold in memory at once."""

import asyncio
import hmac
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect, Request

LINGER_SECONDS = 2.0  # a body is read so long after its refusal: clients send before they listen
LATER = "try again in a second"


@dataclass(frozen=True)
class Limits:
    """The bounds of a server; bytes, images and seconds."""

    body_bytes: int = 2**24
    pixels: int = 2**24  # of an image as it is sent; some 300 MB while it is decoded
    images: int = 256  # of a request
    connections: int = 512  # at once; a process may often open 1,024 files
    requests: int = 256  # at once
    held_bytes: int = 2**27  # bodies of all requests
    queue: int = 1024  # images that wait for the network
    batch: int = 64  # images of a forward pass
    wait: float = 0.002  # of an image for others that are being decoded
    timeout: float = 10.0  # for a request's head, again for its body, and for the answer


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
        self.n_requests = self.n_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """Read a request's body, which counts until the block is left. Raises RefusalError."""
        if self.n_requests >= self._limits.requests:
            raise UnreadRefusalError(503, "too many requests at once", LATER)
        chunks: list[bytes] = []
        self.n_requests += 1
        try:
            await self._read(request, chunks)
            chunks = [b"".join(chunks)]
            yield chunks[0]
        finally:
            self.n_requests -= 1
            self.n_bytes -= sum(map(len, chunks))

    async def _read(self, request: Request, chunks: list[bytes]) -> None:
        """Append a request's body to ``chunks``. Raises RefusalError."""
        limits, n, has_more = self._limits, 0, True
        try:
            async with asyncio.timeout(limits.timeout):
                while has_more:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk, has_more = message.get("body", b""), message.get("more_body", False)
                    refusal = UnreadRefusalError if has_more else RefusalError
                    n += len(chunk)
                    if n > limits.body_bytes:
                        what = f"the body has more than {limits.body_bytes:,} bytes"
                        raise refusal(413, what, "send less at once")
                    if self.n_bytes + len(chunk) > limits.held_bytes:
                        raise refusal(503, "too many bytes at once", LATER)
                    self.n_bytes += len(chunk)
                    chunks.append(chunk)
        except TimeoutError as error:
            what = f"the body did not arrive within {limits.timeout:g} seconds"
            raise RefusalError(408, what, "send less at once") from error


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
        RefusalError: the request is refused
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
