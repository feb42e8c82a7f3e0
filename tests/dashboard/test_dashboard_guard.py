"""The gate: who may ask the server what."""

import asyncio
from urllib.parse import quote

import pytest

from cifarlab.dashboard.guard import POLICY, UPLOAD_BYTES, Guard
from cifarlab_serve.limits import is_loopback

FORM = (b"content-type", b"application/x-www-form-urlencoded")


class InnerApp:
    """An application that notes what reaches it, reads the whole body and answers 200."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.read = 0

    async def __call__(self, scope, receive, send) -> None:
        self.paths.append(scope["path"])
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            return
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RuntimeError("the client went away")
            self.read += len(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"inside"})


def ask(guard, *args, **more):
    """One request, as ``request``."""
    return asyncio.run(request(guard, *args, **more))


async def request(guard, path="/", method="GET", kind="http", chunks=(b"",), query="", **headers):
    """One request; (status or message type, headers, body). Underscores are dashes."""
    header_values = {"host": "127.0.0.1:8642", **headers}
    scope = {
        "type": kind,
        "path": path,
        "method": method,
        "query_string": query if isinstance(query, bytes) else query.encode(),
        "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in header_values.items()],
    }
    messages, remaining = [], list(chunks)

    async def receive():
        if not remaining:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": remaining.pop(0), "more_body": bool(remaining)}

    async def send(message):
        messages.append(message)

    await guard(scope, receive, send)
    if kind == "websocket":
        return messages[0]["type"], {}, b""
    (start,) = [m for m in messages if m["type"] == "http.response.start"]
    body = b"".join(m.get("body", b"") for m in messages if m["type"] == "http.response.body")
    return start["status"], {k.decode(): v.decode() for k, v in start["headers"]}, body


def local_guard() -> tuple[Guard, InnerApp]:
    inner = InnerApp()
    return Guard(inner, password=None, any_host=False), inner


def password_guard(monkeypatch) -> tuple[Guard, InnerApp]:
    monkeypatch.setattr("cifarlab.dashboard.guard._FAILURE_SECONDS", 0)
    inner = InnerApp()
    return Guard(inner, password="open sesame", any_host=True), inner


def session_cookie(guard) -> str:
    status, headers, _ = ask(guard, "/login", "POST", chunks=[b"password=open+sesame"])
    assert status == 303
    assert "HttpOnly" in headers["set-cookie"] and "SameSite" in headers["set-cookie"]
    return headers["set-cookie"].partition(";")[0]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.168.0.7", False),
        ("::", False),
        ("localhost.evil.org", False),
        ("", False),
    ],
)
def test_what_is_this_machine_alone(host, expected):
    assert is_loopback(host) is expected


def test_without_a_password_this_machine_comes_in_and_nothing_may_load_from_elsewhere():
    guard, inner = local_guard()
    status, headers, body = ask(guard, "/run/a")
    assert (status, body, inner.paths) == (200, b"inside", ["/run/a"])
    assert headers["content-security-policy"] == POLICY
    assert "http" not in POLICY and "*" not in POLICY
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_another_name_for_this_machine_is_refused(kind):
    guard, inner = local_guard()
    status, *_ = ask(guard, kind=kind, host="evil.example:8642")
    assert status in (403, "websocket.close") and not inner.paths


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:1", "null"])
def test_another_sites_page_is_refused(kind, origin):
    guard, inner = local_guard()
    status, *_ = ask(guard, kind=kind, method="POST", origin=origin)
    assert status in (403, "websocket.close") and not inner.paths


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("spoiled", [{"host": "[::1"}, {"origin": "http://[::1"}])
def test_a_name_that_is_none_is_refused(kind, spoiled):
    guard, inner = local_guard()
    status, *_ = ask(guard, kind=kind, **spoiled)
    assert status in (403, "websocket.close") and not inner.paths


@pytest.mark.parametrize("path", ["/", "/login"])
def test_a_question_that_is_no_text_gets_to_the_login_page(monkeypatch, path):
    guard, inner = password_guard(monkeypatch)
    assert ask(guard, path, query=b"next=\xff")[0] in (200, 303) and not inner.paths


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_its_own_page_may_ask(kind):
    guard, inner = local_guard()
    ask(guard, kind=kind, origin="http://127.0.0.1:8642")
    assert inner.paths == ["/"]


def test_a_body_that_says_it_is_too_large_is_not_read():
    guard, inner = local_guard()
    status, *_ = ask(guard, method="POST", content_length=str(UPLOAD_BYTES * 2))
    assert status == 413 and not inner.paths


def test_a_body_that_turns_out_too_large_is_cut_off():
    guard, inner = local_guard()
    chunk = b"x" * 2**20
    status, _, body = ask(guard, method="POST", chunks=[chunk] * 40)
    assert status == 413 and b"16 MiB" in body
    assert inner.read <= UPLOAD_BYTES + 2**17


class FakeReceive:
    """What a client sends: messages one after the other, then that it went away."""

    def __init__(self, *messages) -> None:
        self._messages = [*messages, {"type": "http.disconnect"}]

    async def __call__(self):
        return self._messages.pop(0)


def post_login(guard, *messages) -> list:
    """What is sent to a client that posts these messages and leaves."""
    sent = []
    headers = [(b"host", b"127.0.0.1:8642")]
    scope = {"type": "http", "path": "/", "method": "POST", "query_string": b"", "headers": headers}

    async def send(message):
        sent.append(message)

    asyncio.run(guard(scope, FakeReceive(*messages), send))
    return sent


def test_who_leaves_while_sending_raises_nothing():
    guard, inner = local_guard()
    part = {"type": "http.request", "body": b"x" * 100, "more_body": True}
    assert post_login(guard, part) == [] and inner.read == 100


def test_a_fault_behind_a_whole_body_is_raised():
    async def failing(scope, receive, send):
        await receive()
        await receive()
        raise RuntimeError("a fault of ours")

    guard = Guard(failing, password=None, any_host=False)
    with pytest.raises(RuntimeError, match="of ours"):
        post_login(guard, {"type": "http.request", "body": b"x", "more_body": False})


def test_a_body_of_the_allowed_size_passes():
    guard, inner = local_guard()
    assert ask(guard, method="POST", chunks=[b"x" * UPLOAD_BYTES])[0] == 200
    assert inner.read == UPLOAD_BYTES


@pytest.mark.parametrize(
    "path", ["/run/a", "/", "/_nicegui/3.18/static/nicegui.js", "/_nicegui_ws/socket.io/"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "PUT"])
def test_with_a_password_nothing_is_reached_without_it(monkeypatch, path, method):
    guard, inner = password_guard(monkeypatch)
    status, headers, _ = ask(guard, path, method, query="a=1")
    assert status in (303, 401) and not inner.paths
    if status == 303:
        assert headers["location"] == f"/login?next={quote(path + '?a=1')}"


def test_with_a_password_no_websocket_opens_without_it(monkeypatch):
    guard, inner = password_guard(monkeypatch)
    assert ask(guard, "/_nicegui_ws/", kind="websocket")[0] == "websocket.close"
    assert not inner.paths


def test_the_password_opens_everything(monkeypatch):
    guard, inner = password_guard(monkeypatch)
    cookie = session_cookie(guard)
    assert ask(guard, "/run/a", cookie=f"x=1; {cookie}")[0] == 200
    assert ask(guard, "/ws", kind="websocket", cookie=cookie)[0] == "websocket.accept"
    assert inner.paths == ["/run/a", "/ws"]


@pytest.mark.parametrize(
    "body", [b"", b"password=", b"password=open", b"other=open+sesame", b"\xff", b"x" * 9000]
)
def test_a_wrong_password_opens_nothing(monkeypatch, body):
    guard, inner = password_guard(monkeypatch)
    status, headers, _ = ask(guard, "/login", "POST", chunks=[body])
    assert status in (401, 413) and "set-cookie" not in headers and not inner.paths


def test_a_made_up_or_foreign_session_opens_nothing(monkeypatch):
    guard, inner = password_guard(monkeypatch)
    other, _ = password_guard(monkeypatch)
    name = session_cookie(guard).partition("=")[0]
    for cookie in (session_cookie(other), f"{name}=guess", f"{name}=", f"{name}=ä"):
        assert ask(guard, "/run/a", cookie=cookie)[0] == 303
    assert not inner.paths


def test_sessions_are_random(monkeypatch):
    cookies = {session_cookie(password_guard(monkeypatch)[0]) for _ in range(3)}
    assert len(cookies) == 3 and min(map(len, cookies)) > 40


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/run/a?x=1", "/run/a?x=1"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\r\nset-cookie: x", "/a%0D%0Aset-cookie%3A%20x"),
    ],
)
def test_the_login_leads_to_a_page_of_ours_alone(monkeypatch, path, expected):
    guard, _ = password_guard(monkeypatch)
    _, headers, _ = ask(
        guard, "/login", "POST", query=f"next={quote(path)}", chunks=[b"password=open+sesame"]
    )
    assert headers["location"] == expected


def test_the_door_shows_nothing_that_was_sent_to_it(monkeypatch):
    guard, _ = password_guard(monkeypatch)
    hostile = quote('"><script>x</script>')
    _, headers, body = ask(guard, "/login", query=f"next={hostile}")
    assert b"<script>" not in body and headers["content-security-policy"] == POLICY


def test_a_wrong_password_costs_a_second(monkeypatch):
    slept = []
    guard, _ = password_guard(monkeypatch)
    monkeypatch.setattr("cifarlab.dashboard.guard._FAILURE_SECONDS", 1.0)

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr("asyncio.sleep", sleep)
    ask(guard, "/login", "POST", chunks=[b"password=x"])
    assert slept == [1.0]


def test_many_wrong_passwords_at_once_wait_for_each_other(monkeypatch):
    guard, _ = password_guard(monkeypatch)
    waiting, most, slept = 0, 0, asyncio.sleep

    async def sleep(_seconds):
        nonlocal waiting, most
        waiting += 1
        most = max(most, waiting)
        await slept(0)
        waiting -= 1

    async def guess():
        form = [b"password=x"]
        return await asyncio.gather(
            *(request(guard, "/login", "POST", chunks=form) for _ in range(5))
        )

    monkeypatch.setattr("asyncio.sleep", sleep)
    assert [status for status, _, _ in asyncio.run(guess())] == [401] * 5
    assert most == 1
    assert session_cookie(guard)
