"""The local dashboard: runs, studies and searches in a browser, and predictions of an image.

It reads run folders and writes nothing, so it can neither lock nor crash a run; its pages load
nothing from other servers. Read in this order: ``index`` (lists the runs), ``tables`` and
``charts`` (pure functions from runs to tables and charts), ``views`` (the page of each URL),
``figures`` (figures that other commands drew), ``image_prediction`` (an image on a network),
``guard`` (which requests are answered), ``site`` (all URLs).
"""

import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cifarlab.config.plugins import plugin_session
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import is_folder

_SHUTDOWN_SECONDS = 2  # for open requests at the end


def serve(
    runs: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8642,
    password: str | None = None,
    open_browser: bool = True,
    log: Callable[[str], None] = print,
) -> None:
    """Serve a folder of runs until Ctrl-C.

    Args:
        runs: the folder
        host: the address to listen on
        port: 0 takes a free one
        password: what a visitor must give, None for no login
        open_browser: open a browser where there is a screen
        log: gets the URL

    Raises:
        RunFolderError: there is no such folder
        UserError: the port is in use, or ``host`` is not this machine and has no password
        MissingExtraError: the extra ``dashboard`` is not installed
    """
    require_packages("the dashboard", "dashboard", "nicegui")
    import uvicorn

    from cifarlab_serve.limits import is_loopback

    if not is_folder(runs):
        raise RunFolderError(f"there is no folder {runs}", "train something, or name another one")
    any_host = not is_loopback(host)
    if any_host and not password:
        raise UserError(
            f"on {host} others can reach the dashboard, so it needs a password",
            "set CIFARLAB_DASHBOARD_PASSWORD or give --password; or leave --host as it is",
        )
    with _bind(host, port) as server_socket:
        from cifarlab.dashboard.site import build_application  # it takes a second to import

        app = build_application(runs, password=password, any_host=any_host)
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            ws="wsproto",
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        name = f"[{host.strip('[]')}]" if ":" in host else host
        name = socket.gethostname() if host in ("0.0.0.0", "::") else name
        url = f"http://{name}:{server_socket.getsockname()[1]}/"
        log(f"cifarlab dashboard: {url}  (Ctrl-C ends it)")
        if open_browser and _has_screen():
            threading.Timer(0.5, webbrowser.open, [url]).start()
        # plug-ins of later runs are not trusted; uvicorn raises KeyboardInterrupt after its end
        with plugin_session(), suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[server_socket])


def _bind(host: str, port: int) -> socket.socket:
    """Return a listening socket; called before anything slow, so that a used port shows at once."""
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
    """Return whether a browser can open; without a screen, a text browser would."""
    screens = ("DISPLAY", "WAYLAND_DISPLAY")
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in screens)
