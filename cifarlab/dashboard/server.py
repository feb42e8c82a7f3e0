"""From a folder and an address to a running server, and its end."""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import uvicorn

from cifarlab.dashboard.guard import is_loopback
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.files import is_folder

PASSWORD = "CIFARLAB_DASHBOARD_PASSWORD"
_PATIENCE = 2  # seconds for open requests at the end


def run_server(
    runs: Path, host: str, port: int, password: str | None, show: bool, log: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; see ``cifarlab.dashboard.serve.serve``."""
    if not is_folder(runs):
        raise RunFolderError(f"there is no folder {runs}", "train something, or name another one")
    anywhere = not is_loopback(host)
    if anywhere and not password:
        raise UserError(
            f"on {host} others can reach the dashboard, so it needs a password",
            f"set {PASSWORD} or give --password; or leave --host as it is",
        )
    with _socket(host, port) as listening:
        from cifarlab.dashboard.site import (
            application,  # after what can be refused: it takes a second
        )

        address = _address(host, listening)
        app = application(runs, password=password, anywhere=anywhere)
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            ws="wsproto",
            timeout_graceful_shutdown=_PATIENCE,
        )
        log(f"cifarlab dashboard: {address}  (Ctrl-C ends it)")
        if show and _has_screen():
            threading.Timer(0.5, webbrowser.open, [address]).start()
        with suppress(KeyboardInterrupt):  # uvicorn raises it again once it has ended
            uvicorn.Server(config).run(sockets=[listening])


def _socket(host: str, port: int) -> socket.socket:
    """Bind before anything slow, so that a taken port is said at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), port), family=family)
    except OverflowError as error:
        raise UserError(f"--port {port} is no port", "take one from 0 to 65535") from error
    except OSError as error:
        raise UserError(
            f"can't listen on {host}, port {port}: {error.strerror or error}",
            "--port 0 takes a free one",
        ) from error


def _address(host: str, listening: socket.socket) -> str:
    name = f"[{host.strip('[]')}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        name = socket.gethostname()
    return f"http://{name}:{listening.getsockname()[1]}/"


def _has_screen() -> bool:
    """Whether a browser can open; elsewhere a text browser would take the terminal."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)
