"""The guard of the server: every request and every websocket passes it first.

Requests are answered only under names of this machine (against DNS rebinding), only from the
server's own pages (against scripts of other sites), and only up to a size; each response forbids
the browser to load from or send to any other server. With a password, there is nothing but the
login page without it.
"""

import asyncio
import hmac
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

from cifarlab_serve.limits import is_loopback

UPLOAD_BYTES = 2**24
_BODY_BYTES = UPLOAD_BYTES + 2**16  # with the form around the file
_TOO_LARGE = f"more than {UPLOAD_BYTES // 2**20} MiB"
_LOGIN_BYTES = 4096
_FAILURE_SECONDS = 1.0  # a wrong password is answered so late
LOGIN = "/login"
_LOGIN_PAGE = Template((Path(__file__).parent / "login.html").read_text("utf-8"), autoescape=True)
# NiceGUI compiles its templates in the browser, which needs 'unsafe-eval' and 'unsafe-inline'.
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
_NO_STORE = {"cache-control": "no-store"}


class Guard:
    """An ASGI application around another; ``password`` None: it needs none.

    ``any_host`` answers under any host name, for a server that other machines can reach.
    """

    def __init__(self, app: ASGIApp, *, password: str | None, any_host: bool) -> None:
        self.app = app
        self._password = password
        self._any_host = any_host
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"cifarlab_{secrets.token_hex(4)}"  # cookies do not know ports
        self._login_lock = asyncio.Lock()  # one at a time, so that many at once are no faster

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request, or hand it on to the application."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        with suppress(ClientDisconnect):  # a visitor may leave during an upload
            try:
                answer = await self._answer(HTTPConnection(scope), receive) or self.app
                await answer(scope, _limit_body(receive), send_with_headers)
            except HTTPException as error:
                if scope["type"] == "websocket":
                    answer = WebSocketClose(1008, error.detail)
                else:
                    text = f"{error.detail}\n"
                    answer = PlainTextResponse(text, error.status_code, _NO_STORE)
                await answer(scope, receive, send_with_headers)

    async def _answer(self, connection: HTTPConnection, receive: Receive) -> Response | None:
        """Return the response to a visitor without the password, None to hand the request on.

        Raises HTTPException where it is refused.
        """
        self._require_ours(connection.headers.get("host", ""), connection.headers.get("origin"))
        cookie = connection.cookies.get(self._cookie, "")
        if self._password is not None and not _is_equal(cookie, self._session):
            if connection.scope["type"] == "http" and connection.scope["path"] == LOGIN:
                return await self._login(Request(connection.scope, receive), self._password)
            return _redirect_to_login(connection.scope)
        content_length = connection.headers.get("content-length", "")
        if content_length.isdigit() and int(content_length) > _BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return None

    def _require_ours(self, host: str, origin: str | None) -> None:
        """Raise HTTPException for a request under another name, or from another site's page."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
            origin_host = host if origin is None else urlsplit(origin).netloc
        except ValueError as error:  # a bracket without its other half
            raise HTTPException(403, "that is no name of a machine") from error
        if not (self._any_host or is_loopback(name)):
            raise HTTPException(403, f"this page is not served under the name {name!r}")
        if origin_host != host:
            raise HTTPException(403, "another site's page may not ask this one")

    async def _login(self, request: Request, expected: str) -> Response:
        """Return the login page; with the password, a session and the way to the page wanted."""
        next_path = request.query_params.get("next", "/")
        if request.method != "POST":
            return _login_page(next_path)
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > _LOGIN_BYTES:
                raise HTTPException(413, f"more than {_LOGIN_BYTES} bytes")
        async with self._login_lock:
            if not _is_equal(QueryParams(body).get("password", ""), expected):
                await asyncio.sleep(_FAILURE_SECONDS)
                return _login_page(next_path, "That is not the password.")
        # "//host", "/\host" and "https:..." would lead to another site
        is_ours = next_path.startswith("/") and not next_path.startswith(("//", "/\\"))
        target = next_path if is_ours else "/"
        answer = RedirectResponse(quote(target, safe="/?&=%+"), 303, _NO_STORE)
        answer.set_cookie(self._cookie, self._session, httponly=True, samesite="lax")
        return answer


def _limit_body(receive: Receive) -> Receive:
    """Return a ``receive`` that raises HTTPException above a size, and ClientDisconnect."""
    remaining, is_complete = _BODY_BYTES, False

    async def limited_receive() -> Message:
        nonlocal remaining, is_complete
        message = await receive()
        if message["type"] == "http.disconnect" and not is_complete:
            raise ClientDisconnect
        is_complete = is_complete or not message.get("more_body", False)
        remaining -= len(message.get("body", b""))
        if remaining < 0:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return limited_receive


def _redirect_to_login(scope: Scope) -> Response:
    path, query = scope["path"], scope["query_string"].decode("utf-8", "replace")
    page = scope["type"] == "http" and scope["method"] == "GET"
    if not page or path.startswith("/_nicegui"):
        raise HTTPException(401, "give the password first")
    target = quote(f"{path}?{query}" if query else path)
    return RedirectResponse(f"{LOGIN}?next={target}", 303, _NO_STORE)


def _login_page(next_path: str, problem: str = "") -> Response:
    page = _LOGIN_PAGE.render(action=f"{LOGIN}?next={quote(next_path)}", problem=problem)
    return HTMLResponse(page, 401 if problem else 200, _NO_STORE)


def _is_equal(password: str, expected: str) -> bool:
    """Compare in constant time, so that the time does not reveal where they differ."""
    return hmac.compare_digest(password.encode("utf-8", "replace"), expected.encode())
