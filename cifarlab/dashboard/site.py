"""The URLs of the dashboard, and the application that serves them."""

import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path

from fastapi import FastAPI
from nicegui import ui
from starlette.responses import Response

from cifarlab.dashboard import charts, figures
from cifarlab.dashboard.guard import Guard
from cifarlab.dashboard.index import Index
from cifarlab.dashboard.views import compare, experiments, listing, run, try_image

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" '
    'rx="3" fill="#0072b2"/><path d="M3 12 6 7l3 3 4-6" stroke="#fff" stroke-width="1.6" '
    'fill="none"/></svg>'
)
_PAGES: dict[str, Callable[..., Awaitable[None]]] = {
    "/": listing.show,
    "/run/{url_path:path}": run.show,
    "/compare": compare.show,
    "/study/{url_path:path}": experiments.show_study,
    "/search/{url_path:path}": experiments.show_search,
    "/try": try_image.show,
}


def build_application(root: Path, *, password: str | None = None, any_host: bool = False) -> Guard:
    """Return the ASGI application of a folder of runs; NiceGUI allows one per process.

    Plug-ins of the runs that are there now are approved where the caller trusts them.

    Args:
        root: the folder
        password: what a visitor must give, None for no login
        any_host: answer under any host name, for a server that other machines can reach
    """
    index = Index(root)
    # fill the index before the first request; in this context, which may trust plug-ins
    threading.Thread(target=copy_context().run, args=[index.listing], daemon=True).start()
    for path, show in _PAGES.items():
        ui.page(path, response_timeout=30)(partial(show, index))
    style = (Path(__file__).parent / "style.css").read_text("utf-8")
    ui.add_head_html(f"<style>{style}</style><script>{charts.SCRIPT}</script>", shared=True)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/figure/{url_path:path}")
    def _serve_figure(url_path: str) -> Response:
        return figures.serve_figure(index, url_path)

    ui.run_with(
        app,
        title="cifarlab",
        favicon=ICON,
        dark=None,  # as the visitor's system has it
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        binding_refresh_interval=0.5,
    )
    return Guard(app, password=password, any_host=any_host)
