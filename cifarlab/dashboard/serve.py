"""The local dashboard: runs, studies and searches in a browser, and images tried on a network.

It reads run folders and writes nothing, so it can neither lock nor crash a run; it loads nothing
from elsewhere. Read in this order: ``index`` (what is there), ``tables`` and
``charts`` (pure functions from what is there to what is shown), ``views`` (what each address
shows), ``figures`` (figures that others drew), ``trial`` (an image on a network), ``guard`` (who
may ask), ``server`` (how it is served).
"""

from collections.abc import Callable
from pathlib import Path

from cifarlab.system.extras import require_packages

__all__ = ["require_extra", "serve"]


def require_extra() -> None:
    """Raise MissingExtraError where a library that the dashboard needs is not installed."""
    require_packages("the dashboard", "dashboard", "nicegui", "matplotlib")


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
    require_extra()
    from cifarlab.dashboard.server import run_server

    run_server(runs, host, port, password, show, log)
