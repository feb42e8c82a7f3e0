"""The addresses of the page, and the application that serves them."""

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
from cifarlab.dashboard.views import compare, experiments, listing, run, trial

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
    "/try": trial.show,
}


def application(root: Path, *, password: str | None = None, anywhere: bool = False) -> Guard:
    """Return the ASGI application of the folder ``root``; NiceGUI allows one per process.

    Plug-ins of the runs that are there now are approved where the caller trusts them.
    """
    index = Index(root)
    # before anybody asks; in this context, which knows whether plug-ins are trusted
    threading.Thread(target=copy_context().run, args=[index.listing], daemon=True).start()
    for path, show in _PAGES.items():
        ui.page(path, response_timeout=30)(partial(show, index))
    style = (Path(__file__).parent / "style.css").read_text("utf-8")
    ui.add_head_html(f"<style>{style}</style><script>{charts.SCRIPT}</script>", shared=True)
    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @outer.get("/figure/{url_path:path}")
    def _figure(url_path: str) -> Response:
        return figures.serve_figure(index, url_path)

    ui.run_with(
        outer,
        title="cifarlab",
        favicon=ICON,
        dark=None,  # as the visitor's system has it
        language="en-US",
        tailwind=False,
        show_welcome_message=False,
        binding_refresh_interval=0.5,
    )
    return Guard(outer, password=password, anywhere=anywhere)
