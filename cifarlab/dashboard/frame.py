"""What all views share: the frame around them, sections that fail alone, and watching files."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup, escape
from nicegui import ui

from cifarlab.dashboard import charts
from cifarlab.dashboard.index import Index, MissingFolderError, file_stamp
from cifarlab.plots.spec import BLUE, Plot
from cifarlab.report.html import parts
from cifarlab.report.tables import Table
from cifarlab.system.errors import CifarlabError
from cifarlab.system.files import to_utf8

_PACE = 2.0  # seconds between two looks at the files behind what is shown
_LINKS = {"Runs": "/", "Try an image": "/try"}

T = TypeVar("T")


def put(content: str, *values: Any, kind: str = "") -> ui.html:
    """Put HTML into the page; values, which come from files, are escaped unless they are Markup."""
    filled = Markup(content).format(*values) if values else content
    return ui.html(to_utf8(filled), sanitize=False).classes(kind)


def put_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Put a table into the page."""
    put(parts().table(Table(columns, rows)))


@contextmanager
def framed(index: Index, title: str, here: str = "") -> Iterator[None]:
    """Show the top of the page, and the main part to be filled; ``here`` is the part's word."""
    ui.page_title(f"{title} - cifarlab" if title else "cifarlab")
    ui.colors(primary=BLUE)
    links = "".join(
        f'<a href="{address}"{" aria-current=page" if word == here else ""}>{word}</a>'
        for word, address in _LINKS.items()
    )
    put(
        f'<header class="top"><nav><a class="home" href="/">cifarlab</a>{links}'
        '<span class="where" title="{0}"><bdi>{0}</bdi></span></nav></header>',
        index.root,
    )
    with ui.element("div").classes("page"), show_errors():
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


async def watch(
    files: Sequence[Path], read: Callable[[], T], fill: Callable[[T], Awaitable[None]]
) -> None:
    """Fill a part of the page with what ``read`` returns, anew whenever a file changed.

    The files are looked at, and read, in a thread.
    """
    container = ui.element("div")
    known: list[Any] = []

    async def look() -> None:
        nonlocal known
        now = await asyncio.to_thread(lambda: [file_stamp(file) for file in files])
        if now == known:
            return
        known = now
        with container, show_errors():
            content = await asyncio.to_thread(read)
            container.clear()
            await fill(content)

    await look()
    ui.timer(_PACE, look, immediate=False)


def chart(plot: Plot | None, height: int, alt: str) -> ui.echart:
    """Return a chart as wide as the element around it."""
    made = ui.echart(charts.options(plot, height)).classes("chart").style(f"height: {height}px")
    return made.props(f'role=img aria-label="{escape(alt)}"')
