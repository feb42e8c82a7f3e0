"""Who may ask the server what: the gate that every request and every websocket passes first.

Always: only under names of this machine (against DNS rebinding), only from its own pages (against
other sites' scripts), only bodies of a bounded size; each answer tells the browser to load from
and send to nowhere else. With a password: nothing but the login page until it was given.
"""

import asyncio
import hmac
import html
import ipaddress
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

UPLOAD_BYTES = 2**24
_BODY_BYTES = UPLOAD_BYTES + 2**16  # with the form around the file
_LOGIN_BYTES = 4096
_WRONG_COSTS = 1.0  # seconds
LOGIN = "/login"
# NiceGUI compiles its templates in the browser: hence the unsafe ones, for its own code alone.
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """An ASGI application around another; ``password`` None asks for none.

    ``anywhere`` lets it be called by any name: it listens beyond this machine, with a password.
    """

    def __init__(self, app: App, *, password: str | None, anywhere: bool) -> None:
        self.app = app
        self._password = password
        self._anywhere = anywhere
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"cifarlab_{secrets.token_hex(4)}"  # cookies do not know ports
        self._guess = asyncio.Lock()  # one at a time, so that many at once are no faster

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, refuse or hand on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value for name, value in scope["headers"]}
        if refusal := self._foreign(headers):
            await _refuse(scope, send, 403, refusal)
        elif self._password is None or self._admitted(headers):
            await self._hand_on(scope, receive, send)
        elif scope["type"] == "http":
            await self._login(scope, receive, send)
        else:
            await _refuse(scope, send, 401, "give the password first")

    def _foreign(self, headers: dict[str, bytes]) -> str:
        """Return why a request is not from a page of ours, empty where it may be."""
        host = headers.get("host", b"").decode("latin-1")
        origin = headers.get("origin")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            origin_host = host if origin is None else urlsplit(origin.decode("latin-1")).netloc
        except ValueError:  # a bracket without its other half
            return "that is no name of a machine"
        if not (self._anywhere or is_loopback(name)):
            return f"this page is not served under the name {name!r}"
        return "" if origin_host == host else "another site's page may not ask this one"

    def _admitted(self, headers: dict[str, bytes]) -> bool:
        for cookie in headers.get("cookie", b"").decode("latin-1").split(";"):
            name, _, value = cookie.strip().partition("=")
            if name == self._cookie:
                return _same(value, self._session)
        return False

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        too_large = f"more than {UPLOAD_BYTES // 2**20} MiB"
        if _declared(scope) > _BODY_BYTES:
            await _refuse(scope, send, 413, too_large)
            return
        left, began, complete, gone = _BODY_BYTES, False, False, False

        async def receiving() -> Message:
            nonlocal left, complete, gone
            message = await receive()
            gone = message["type"] == "http.disconnect" and not complete
            complete = complete or not message.get("more_body", False)
            left -= len(message.get("body", b""))
            return message if left >= 0 else {"type": "http.disconnect"}

        async def sending(message: Message) -> None:
            nonlocal began
            if left < 0 and not began:  # what the application makes of a body that ends early
                return
            if message["type"] == "http.response.start":
                began = True
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            await self.app(scope, receiving, sending)
        except Exception:
            if left >= 0 and not gone:  # a visitor who leaves while sending is no fault
                raise
        if left < 0 and not began:
            await _refuse(scope, send, 413, too_large)

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask for the password; with it, hand out the session and go where the visitor wanted."""
        if scope["path"] != LOGIN:
            target_path = scope["path"] + (f"?{q}" if (q := _query(scope)) else "")
            if scope["method"] != "GET" or scope["path"].startswith("/_nicegui"):
                await _refuse(scope, send, 401, "give the password first")
                return
            await _answer(
                send, 303, b"", (b"location", f"{LOGIN}?to={quote(target_path)}".encode())
            )
            return
        to = parse_qs(_query(scope)).get("to", ["/"])[0]
        if scope["method"] != "POST":
            await _answer(send, 200, _form(to))
            return
        body = await _body(receive)
        if body is None:
            await _refuse(scope, send, 413, f"more than {_LOGIN_BYTES} bytes")
            return
        password = parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
        async with self._guess:
            wrong = not _same(password, self._password or "")
            if wrong:
                await asyncio.sleep(_WRONG_COSTS)
        if wrong:
            await _answer(send, 401, _form(to, "That is not the password."))
            return
        # a path of ours: "//elsewhere" and "https:..." would lead away
        target = to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
        cookie = f"{self._cookie}={self._session}; HttpOnly; SameSite=Lax; Path=/"
        location = (b"location", quote(target, safe="/?&=%+").encode())
        await _answer(send, 303, b"", location, (b"set-cookie", cookie.encode()))


def _same(password: str, expected: str) -> bool:
    """Compare in a time that tells nothing of where they differ."""
    return hmac.compare_digest(password.encode("utf-8", "replace"), expected.encode())


def _declared(scope: Scope) -> int:
    """Return how many bytes a request says its body has."""
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    return int(declared) if declared.isdigit() else 0


def _query(scope: Scope) -> str:
    query: bytes = scope["query_string"]
    return query.decode("utf-8", "replace")


async def _body(receive: Receive) -> bytes | None:
    """Return the body that is posted to the login page, None where it is too long."""
    body = b""
    while len(body) <= _LOGIN_BYTES:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body
    return None


async def _refuse(scope: Scope, send: Send, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    await _answer(send, status, f"{why}\n".encode(), kind=b"text/plain; charset=utf-8")


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    *more: tuple[bytes, bytes],
    kind: bytes = b"text/html; charset=utf-8",
) -> None:
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", kind), length, (b"cache-control", b"no-store"), *HEADERS, *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _form(to: str, problem: str = "") -> bytes:
    alert = f'<p role="alert">{html.escape(problem)}</p>' if problem else ""
    return f"""<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>cifarlab</title><style>
:root {{ color-scheme: light dark }} body {{ font: 1rem/1.5 system-ui, sans-serif; display: grid;
place-items: center; min-height: 80vh; margin: 1rem }} form {{ width: min(20rem, 100%) }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem;
margin: .3rem 0 }}
p {{ color: #c0392b }}</style></head><body>
<form method="post" action="{LOGIN}?to={html.escape(quote(to))}"><h1>cifarlab</h1>
<label for="password">Password of this page</label>
<input id="password" name="password" type="password" autofocus required
autocomplete="current-password">{alert}<button>Open</button></form></body></html>""".encode()
