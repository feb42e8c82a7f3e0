"""What all views share: the page's frame, sections that show their own errors, watched files."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from markupsafe import Markup, escape
from nicegui import ui

from cifarlab.config.plugins import plugin_errors
from cifarlab.dashboard import charts
from cifarlab.dashboard.index import Index, MissingFolderError
from cifarlab.plots.spec import BLUE, Plot
from cifarlab.report.html import parts
from cifarlab.report.tables import Table
from cifarlab.run_folder.index import file_stamp
from cifarlab.system.errors import CifarlabError
from cifarlab.system.files import to_utf8

_POLL_SECONDS = 2.0  # between two looks at the files of a view
_LINKS = {"Runs": "/", "Try an image": "/try"}

T = TypeVar("T")


def put(content: str, *values: Any, classes: str = "") -> ui.html:
    """Add HTML to the page; return its element.

    Args:
        content: HTML of ours, with a ``{}`` for each value
        *values: come from files, so they are escaped unless they are Markup
        classes: CSS classes of the element
    """
    text = Markup(content).format(*values) if values else content
    return ui.html(to_utf8(text), sanitize=False).classes(classes)


def put_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add a table to the page."""
    put(parts().table(Table(columns, rows)))


@contextmanager
def page_frame(index: Index, title: str, current: str = "") -> Iterator[None]:
    """Add the navigation bar, and the page's main part, which the caller fills meanwhile.

    Args:
        index: the folder of runs, whose path is shown
        title: the browser's title, empty for the list
        current: the link of ``_LINKS`` that leads to this page, if any
    """
    ui.page_title(f"{title} - cifarlab" if title else "cifarlab")
    ui.colors(primary=BLUE)
    links = "".join(
        f'<a href="{address}"{" aria-current=page" if word == current else ""}>{word}</a>'
        for word, address in _LINKS.items()
    )
    put(
        f'<header class="navbar"><nav><a class="brand" href="/">cifarlab</a>{links}'
        '<span class="root-path" title="{0}"><bdi>{0}</bdi></span></nav></header>',
        index.root,
    )
    with ui.element("div").classes("page"), show_errors():
        yield


@contextmanager
def section(title: str = "") -> Iterator[None]:
    """Add a section, which the caller fills meanwhile; an error of its data is shown in it."""
    with ui.element("section"):
        if title:
            put("<h2>{}</h2>", title)
        with show_errors():
            yield


@contextmanager
def show_errors() -> Iterator[None]:
    """Show an error in the page where it happens: files of other people may hold anything."""
    try:
        with plugin_errors():
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
    """Fill a part of the page, and again whenever a file changes.

    Args:
        files: the files to watch
        read: returns what they hold; called in a thread
        fill: adds that to the page
    """
    container = ui.element("div")
    stamps: list[Any] = []

    async def refresh() -> None:
        nonlocal stamps
        new_stamps = await asyncio.to_thread(lambda: [file_stamp(file) for file in files])
        if new_stamps == stamps:
            return
        stamps = new_stamps
        with container, show_errors():
            content = await asyncio.to_thread(read)
            container.clear()
            await fill(content)

    await refresh()
    ui.timer(_POLL_SECONDS, refresh, immediate=False)


def add_chart(plot: Plot | None, height: int, alt: str) -> ui.echart:
    """Add a chart as wide as the element around it; return it.

    Args:
        plot: what it shows, None for an empty chart
        height: in pixels
        alt: what it shows, in words
    """
    element = ui.echart(charts.chart_options(plot, height)).style(f"height: {height}px")
    return element.classes("chart").props(f'role=img aria-label="{escape(alt)}"')
