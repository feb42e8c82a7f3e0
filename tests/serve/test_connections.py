"""A connection costs little and ends: too many, slow heads, answers that nobody reads."""

import importlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import auto

from cifarlab_serve import connections
from cifarlab_serve.limits import LINGER_SECONDS
from cifarlab_serve.settings import Limits

HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
LARGE = b"x" * 2**24  # more than the buffers of a connection hold


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer once the body has come, under /large with much."""
    while (await receive()).get("more_body", False):
        pass
    body = LARGE if scope["path"] == "/large" else b"ok"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(**limits: float) -> Iterator[tuple[Callable[[], socket.socket], uvicorn.Server]]:
    """A server with other bounds in a thread, and a function that connects to it."""
    protocol = partial(connections.BoundedProtocol, limits=Limits(**limits))  # type: ignore[arg-type]
    options = {"http": protocol, "lifespan": "off", "log_level": "error"}
    server = uvicorn.Server(uvicorn.Config(application, **options))  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as opened:

        def connect() -> socket.socket:
            connection = socket.create_connection(listener.getsockname(), timeout=10)
            return opened.enter_context(connection)

        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield connect, server
        finally:
            server.should_exit = True
            thread.join()


def read(connection: socket.socket) -> bytes:
    """What arrives until the connection ends."""
    chunks = []
    try:
        while chunk := connection.recv(2**16):
            chunks.append(chunk)
    except ConnectionResetError:
        pass
    return b"".join(chunks)


def ask(connection: socket.socket) -> bytes:
    connection.sendall(HEAD + b"Connection: close\r\n\r\n")
    return read(connection)


def test_too_many_connections_are_answered_at_once_and_make_room_in_time() -> None:
    with serving(connections=3, timeout=1.0) as (connect, _):
        idle = [connect() for _ in range(3)]
        assert read(connect()).startswith(b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1")
        assert read(idle[0]) == b""  # after a second without a head
        assert ask(connect()).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize("before", [b"", HEAD + b"\r\n"])
def test_a_head_that_trickles_ends_its_connection(before: bytes) -> None:
    with serving(timeout=0.5) as (connect, _):
        connection = connect()
        connection.sendall(before)
        if before:
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200 OK")
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            for byte in HEAD * 10:
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        assert time.monotonic() - start < 5


def test_a_client_that_asks_again_and_again_is_not_cut() -> None:
    with serving(timeout=0.5) as (connect, _):
        connection = connect()
        for _ in range(8):  # for longer than any of the bounds
            connection.sendall(HEAD + b"\r\n")
            assert connection.recv(2**16).startswith(b"HTTP/1.1 200 OK")
            time.sleep(0.45)


def test_an_answer_that_nobody_reads_ends_its_connection() -> None:
    with serving(timeout=0.2) as (connect, server):
        connection = connect()
        connection.sendall(HEAD.replace(b"/ ", b"/large ") + b"\r\n")
        deadline = time.monotonic() + LINGER_SECONDS + 20
        while not server.server_state.connections:
            time.sleep(0.01)
        while server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not server.server_state.connections
        assert len(read(connection)) < len(LARGE)


@pytest.fixture(params=["h11", "httptools"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Each of the two that uvicorn takes, of which it prefers httptools."""
    name = {"h11": "H11Protocol", "httptools": "HttpToolsProtocol"}[request.param]
    module = importlib.import_module(f"uvicorn.protocols.http.{request.param}_impl")
    with monkeypatch.context() as patch:
        patch.setattr(auto, "AutoHTTPProtocol", getattr(module, name))
        importlib.reload(connections)
        yield request.param
    importlib.reload(connections)


@pytest.mark.parametrize(
    "begin",
    [
        b"GET /",
        HEAD + b"X: ",
        HEAD + b"X: a\r\n" * 10,
        HEAD.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX: ",
        HEAD + b"\r\n" + HEAD + b"X: ",
    ],
    ids=["address", "one header", "headers", "trailers", "second request"],
)
@pytest.mark.usefixtures("parser")
def test_a_head_without_end_ends_its_connection(begin: bytes) -> None:
    part = b"X: " + b"a" * 995 + b"\r\n" if begin.endswith(b"\r\n") else b"a" * 1000
    with serving(timeout=60.0) as (connect, _):
        connection = connect()
        connection.sendall(begin)
        deadline = time.monotonic() + LINGER_SECONDS + 20
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                connection.sendall(part)
                time.sleep(1e-4)
        assert ask(connect()).startswith(b"HTTP/1.1 200 OK")


def test_a_long_head_is_answered(parser: str) -> None:
    with serving() as (connect, _):
        connection = connect()
        connection.sendall(HEAD + b"X: " + b"a" * 2**18)
        status = {"h11": b"HTTP/1.1 400 ", "httptools": b"HTTP/1.1 431 "}[parser]
        assert read(connection).startswith(status)


def test_a_long_body_is_no_head() -> None:
    with serving() as (connect, _):
        connection = connect()
        head = HEAD.replace(b"GET", b"POST") + b"Connection: close\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(LARGE))
        connection.sendall(LARGE)
        assert read(connection).startswith(b"HTTP/1.1 200 OK")


def test_requests_behind_one_another_without_end_are_cut() -> None:
    with serving() as (connect, _):
        few, many = connect(), connect()
        few.sendall((HEAD + b"\r\n") * 3 + HEAD + b"Connection: close\r\n\r\n")
        assert read(few).count(b"HTTP/1.1 200 OK") == 4
        many.sendall((HEAD + b"\r\n") * 5000)
        assert read(many).count(b"HTTP/1.1 200 OK") < 5000
        assert ask(connect()).startswith(b"HTTP/1.1 200 OK")
