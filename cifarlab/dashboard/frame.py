"""What all views share: the frame around them, sections that fail alone, and watching files."""

import asyncio
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape
from nicegui import ui

from cifarlab.dashboard import charts
from cifarlab.dashboard.index import Index, MissingFolderError
from cifarlab.dashboard.urls import list_url, try_url
from cifarlab.plots.spec import BLUE, Plot
from cifarlab.report.html import parts
from cifarlab.report.tables import Table
from cifarlab.system.errors import CifarlabError
from cifarlab.system.files import storable

if TYPE_CHECKING:  # it imports torch
    from cifarlab.dashboard.trial import NetworkCache

HERE = Path(__file__).parent
PACE = 2.0  # seconds between two looks at the files behind what is shown


class Site:
    """What the views read: the list of runs, and the networks that were tried last."""

    def __init__(self, root: Path) -> None:
        self.index = Index(root)

    @cached_property
    def networks(self) -> "NetworkCache":
        """Made when the first image is tried: torch takes seconds."""
        from cifarlab.dashboard.trial import NetworkCache

        return NetworkCache()


def put(content: str, *values: Any, kind: str = "") -> ui.html:
    """Put HTML into the page; values, which come from files, are escaped unless they are Markup."""
    filled = Markup(content).format(*values) if values else content
    return ui.html(storable(filled), sanitize=False).classes(kind)


def put_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], kind: str = "") -> None:
    """Put a table into the page."""
    put(parts().table(Table(columns, rows), kind))


@contextmanager
def framed(site: Site, title: str, here: str = "") -> Iterator[None]:
    """Show the top of the page, and the main part to be filled; ``here`` is the part's word."""
    ui.page_title(f"{title} - cifarlab" if title else "cifarlab")
    ui.colors(primary=BLUE)
    links = [("Runs", list_url()), ("Try an image", try_url())]
    links_html = "".join(
        f'<a href="{escape(address)}"{" aria-current=page" if word == here else ""}>{word}</a>'
        for word, address in links
    )
    put(
        f'<header class="top"><nav><a class="home" href="/">cifarlab</a>{links_html}'
        '<span class="where" title="{0}"><bdi>{0}</bdi></span></nav></header>',
        site.index.root,
    )
    with ui.element("div").classes("page"):
        yield


@contextmanager
def section(title: str = "") -> Iterator[None]:
    """Show a part of a view; an error of its data is shown in its place."""
    with ui.element("section"):
        if title:
            put("<h2>{}</h2>", title)
        with show_errors():
            yield


@contextmanager
def show_errors() -> Iterator[None]:
    """Say an error where it happens; a folder from elsewhere may hold anything."""
    try:
        yield
    except CifarlabError as error:
        if isinstance(error, MissingFolderError):
            ui.context.client.status_code = 404
        put(parts().warnings([f"{error.what}. {error.hint.capitalize()}."]))
    except Exception as error:
        traceback.print_exc()
        put(parts().warnings([f"This can't be shown: {type(error).__name__}: {error}."]))


def watch(stamp: Callable[[], Any], build: Callable[[], Any]) -> None:
    """Build now, and anew whenever ``stamp``, looked at in a thread, gives another value."""
    container = ui.element("div")
    known = stamp()

    def fill() -> None:
        container.clear()
        with container, show_errors():
            build()

    async def look() -> None:
        nonlocal known
        now = await asyncio.to_thread(stamp)
        if now != known:
            known = now
            fill()

    fill()
    ui.timer(PACE, look)


def chart(plot: Plot | None, height: int, alt: str) -> ui.echart:
    """Return a chart as wide as the element around it."""
    made = ui.echart(charts.options(plot, height)).classes("chart").style(f"height: {height}px")
    return made.props(f'role=img aria-label="{escape(alt)}"')
