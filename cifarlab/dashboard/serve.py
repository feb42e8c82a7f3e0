"""The local dashboard: runs, studies and searches in a browser, and images tried on a network.

It reads run folders and writes nothing, so it can neither lock nor crash a run; it loads nothing
from elsewhere. Read in this order: ``index`` (what is there), ``tables`` and
``charts`` (pure functions from what is there to what is shown), ``views`` (what each address
shows), ``figures`` (figures that others drew), ``trial`` (an image on a network), ``guard`` (who
may ask), ``site`` (all addresses).
"""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cifarlab.config.plugins import approve_all_plugins
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import is_folder

_PATIENCE = 2  # seconds for open requests at the end


def serve(
    runs: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8642,
    password: str | None = None,
    show: bool = True,
    log: Callable[[str], None] = print,
) -> None:
    """Serve the folder ``runs`` until Ctrl-C; ``show`` opens a browser where there is a screen.

    ``log`` gets the address. Port 0 takes a free one. Raises UserError for a folder that is not
    there, a port that is taken, and a ``host`` beyond this machine without a password, and
    MissingExtraError.
    """
    require_packages("the dashboard", "dashboard", "nicegui", "matplotlib")
    import uvicorn

    from cifarlab.dashboard.guard import is_loopback

    if not is_folder(runs):
        raise RunFolderError(f"there is no folder {runs}", "train something, or name another one")
    anywhere = not is_loopback(host)
    if anywhere and not password:
        raise UserError(
            f"on {host} others can reach the dashboard, so it needs a password",
            "set CIFARLAB_DASHBOARD_PASSWORD or give --password; or leave --host as it is",
        )
    with _listen(host, port) as listening:
        from cifarlab.dashboard.site import application  # it takes a second

        app = application(runs, password=password, anywhere=anywhere)
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            ws="wsproto",
            timeout_graceful_shutdown=_PATIENCE,
        )
        name = f"[{host.strip('[]')}]" if ":" in host else host
        name = socket.gethostname() if host in ("0.0.0.0", "::") else name
        address = f"http://{name}:{listening.getsockname()[1]}/"
        log(f"cifarlab dashboard: {address}  (Ctrl-C ends it)")
        if show and _has_screen():
            threading.Timer(0.5, webbrowser.open, [address]).start()
        # what comes later is not trusted; uvicorn raises KeyboardInterrupt again once it has ended
        with approve_all_plugins(False), suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
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


def _has_screen() -> bool:
    """Whether a browser can open; elsewhere a text browser would take the terminal."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)
