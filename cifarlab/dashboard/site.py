"""The addresses of the page, and the application that serves them."""

import threading
from pathlib import Path

from fastapi import FastAPI, Query
from nicegui import ui
from starlette.responses import Response

from cifarlab.dashboard import figures
from cifarlab.dashboard.frame import HERE, Site
from cifarlab.dashboard.guard import Guard
from cifarlab.dashboard.views import compare, listing, search, study, trial
from cifarlab.dashboard.views import run as run_view

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" '
    'rx="3" fill="#0072b2"/><path d="M3 12 6 7l3 3 4-6" stroke="#fff" stroke-width="1.6" '
    'fill="none"/></svg>'
)


def application(root: Path, *, password: str | None = None, anywhere: bool = False) -> Guard:
    """Return the ASGI application of the folder ``root``; NiceGUI allows one per process."""
    site = Site(root)
    threading.Thread(target=site.index.listing, daemon=True).start()  # before anybody asks
    _addresses(site)
    ui.add_head_html(f"<style>{(HERE / 'style.css').read_text('utf-8')}</style>", shared=True)
    outer = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @outer.get("/figure/{url_path:path}")
    def _figure(url_path: str) -> Response:
        return figures.serve_figure(site.index, url_path)

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


def _addresses(site: Site) -> None:
    @ui.page("/", response_timeout=30)
    async def _listing(by: str = "", group: str = "", find: str = "") -> None:
        await listing.show(site, by, group, find)

    @ui.page("/run/{url_path:path}", response_timeout=30)
    async def _run(url_path: str) -> None:
        await run_view.show(site, url_path)

    @ui.page("/compare", response_timeout=30)
    async def _compare(runs: list[str] = Query(default=[])) -> None:  # noqa: B008
        await compare.show(site, runs)

    @ui.page("/study/{url_path:path}", response_timeout=30)
    async def _study(url_path: str) -> None:
        await study.show(site, url_path)

    @ui.page("/search/{url_path:path}", response_timeout=30)
    async def _search(url_path: str) -> None:
        await search.show(site, url_path)

    @ui.page("/try", response_timeout=30)
    async def _trial(run: str | None = None) -> None:
        await trial.show(site, run)
