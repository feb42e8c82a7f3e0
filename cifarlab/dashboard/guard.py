"""Who may ask the server what: the gate that every request and every websocket passes first.

Always: only under names of this machine (against DNS rebinding), only from its own pages (against
other sites' scripts), only bodies of a bounded size; each answer tells the browser to load from
and send to nowhere else. With a password: nothing but the login page until it was given.
"""

import asyncio
import hmac
import ipaddress
import secrets
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

from jinja2 import Template
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

UPLOAD_BYTES = 2**24
_BODY_BYTES = UPLOAD_BYTES + 2**16  # with the form around the file
_TOO_LARGE = f"more than {UPLOAD_BYTES // 2**20} MiB"
_LOGIN_BYTES = 4096
_WRONG_COSTS = 1.0  # seconds
LOGIN = "/login"
_FORM = Template((Path(__file__).parent / "login.html").read_text("utf-8"), autoescape=True)
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
_UNSTORED = {"cache-control": "no-store"}


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

    def __init__(self, app: ASGIApp, *, password: str | None, anywhere: bool) -> None:
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

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        with suppress(ClientDisconnect):  # a visitor who leaves while sending is no fault
            try:
                answer = await self._answer(HTTPConnection(scope), receive) or self.app
                await answer(scope, _bounded(receive), sending)
            except HTTPException as refusal:
                if scope["type"] == "websocket":
                    answer = WebSocketClose(1008, refusal.detail)
                else:
                    text = f"{refusal.detail}\n"
                    answer = PlainTextResponse(text, refusal.status_code, _UNSTORED)
                await answer(scope, receive, sending)

    async def _answer(self, connection: HTTPConnection, receive: Receive) -> Response | None:
        """Return the answer to who has not given the password, None to hand on.

        Raises HTTPException for a refusal.
        """
        self._require_own(connection.headers.get("host", ""), connection.headers.get("origin"))
        cookie = connection.cookies.get(self._cookie, "")
        if self._password is not None and not _same(cookie, self._session):
            if connection.scope["type"] == "http" and connection.scope["path"] == LOGIN:
                return await self._login(Request(connection.scope, receive), self._password)
            return _lead_to_login(connection.scope)
        declared = connection.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > _BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return None

    def _require_own(self, host: str, origin: str | None) -> None:
        """Raise HTTPException for a request that is not from a page of ours."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            origin_host = host if origin is None else urlsplit(origin).netloc
        except ValueError as error:  # a bracket without its other half
            raise HTTPException(403, "that is no name of a machine") from error
        if not (self._anywhere or is_loopback(name)):
            raise HTTPException(403, f"this page is not served under the name {name!r}")
        if origin_host != host:
            raise HTTPException(403, "another site's page may not ask this one")

    async def _login(self, request: Request, expected: str) -> Response:
        """Ask for the password; with it, hand out the session and go where the visitor wanted."""
        to = request.query_params.get("to", "/")
        if request.method != "POST":
            return _form(to)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LOGIN_BYTES:
                raise HTTPException(413, f"more than {_LOGIN_BYTES} bytes")
        async with self._guess:
            if not _same(QueryParams(body).get("password", ""), expected):
                await asyncio.sleep(_WRONG_COSTS)
                return _form(to, "That is not the password.")
        # a path of ours: "//elsewhere" and "https:..." would lead away
        target = to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
        answer = RedirectResponse(quote(target, safe="/?&=%+"), 303, _UNSTORED)
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="lax")
        return answer


def _bounded(receive: Receive) -> Receive:
    """Return a ``receive`` that raises HTTPException beyond a size, and ClientDisconnect."""
    left, complete = _BODY_BYTES, False

    async def receiving() -> Message:
        nonlocal left, complete
        message = await receive()
        if message["type"] == "http.disconnect" and not complete:
            raise ClientDisconnect
        complete = complete or not message.get("more_body", False)
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return receiving


def _lead_to_login(scope: Scope) -> Response:
    path, query = scope["path"], scope["query_string"].decode("utf-8", "replace")
    page = scope["type"] == "http" and scope["method"] == "GET"
    if not page or path.startswith("/_nicegui"):
        raise HTTPException(401, "give the password first")
    target = quote(f"{path}?{query}" if query else path)
    return RedirectResponse(f"{LOGIN}?to={target}", 303, _UNSTORED)


def _form(to: str, problem: str = "") -> Response:
    page = _FORM.render(action=f"{LOGIN}?to={quote(to)}", problem=problem)
    return HTMLResponse(page, 401 if problem else 200, _UNSTORED)


def _same(password: str, expected: str) -> bool:
    """Compare in a time that tells nothing of where they differ."""
    return hmac.compare_digest(password.encode("utf-8", "replace"), expected.encode())
