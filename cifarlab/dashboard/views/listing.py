"""The list of all runs, or of all recipes with their means over seeds."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from nicegui import ui

from cifarlab.dashboard import tables
from cifarlab.dashboard.frame import page_frame, put, put_table, section
from cifarlab.dashboard.index import Index
from cifarlab.dashboard.tables import Column, TableRow
from cifarlab.dashboard.urls import folder_url, link, page_url
from cifarlab.run_folder.index import Listing

_POLL_SECONDS = 5.0  # between two looks at all folders
# Vue escapes values in double braces and in bound attributes.
_CELL = """
<q-td :props="props">
  <component :is="props.row.links[props.col.name] ? 'a' : 'span'"
    :href="props.row.links[props.col.name]" :title="props.row.titles[props.col.name] ?? props.value"
    :class="props.col.name === 'state' ? ['state', props.value] : ''">{{ props.value }}</component>
</q-td>"""

_NOTE = (
    '<p class="muted">Mean and sample standard deviation (std) over the seeds of finished runs; '
    "those that are unfinished, or that a time limit or a search ended early, are left out. "
    "A recipe on other data is another row. Choose a recipe to see its runs.</p>"
)


async def show(index: Index, group_by: str = "", group: str = "", search: str = "") -> None:
    """Show the list.

    Args:
        index: the folder of runs
        group_by: "recipe" for a row per recipe, else a row per run
        group: show the runs of this group alone, empty for all
        search: the text in the search box
    """
    listing = await asyncio.to_thread(index.listing)
    by_recipe = group_by == "recipe"
    runs = listing.runs if by_recipe or group else ()  # a list of single runs needs no names
    names = await asyncio.to_thread(index.group_names, runs)
    with page_frame(index, "", "Runs"):
        rows = _group_rows(listing, group)
        title = f"{names.get(group, '')}: {_count_runs(rows)}" if group else "Runs"
        _add_title("Recipes" if by_recipe else title, group_by)
        if not group or by_recipe:
            _add_collections(listing)
        if by_recipe:
            rows = tables.recipe_rows(listing.runs, names)
            _add_table(tables.RECIPE_COLUMNS, rows, "group", _add_search_box(search))
            put(_NOTE)
        else:
            _add_runs(index, rows, group, search)
        if listing.unrecognized_entries:
            with section("Folders that can't be read as runs"):
                put_table(("folder", "why"), listing.unrecognized_entries)


def _group_rows(listing: Listing, group: str) -> list[TableRow]:
    return tables.run_rows((run for run in listing.runs if group in ("", run.group)), time.time())


def _count_runs(rows: Sequence[TableRow]) -> str:
    return f"{len(rows):,} run" if len(rows) == 1 else f"{len(rows):,} runs"


def _add_title(title: str, group_by: str) -> None:
    """Add the title, and the switch between the two lists."""
    links = "".join(
        f'<a href="{page_url("/", group_by=value)}"'
        f"{' aria-current=true' if value == group_by else ''}>{word}</a>"
        for word, value in (("By run", ""), ("By recipe", "recipe"))
    )
    switch = f'<div class="switch" role="group" aria-label="a row is">{links}</div>'
    put(f'<div class="title-row"><h1>{{}}</h1>{switch}</div>', title)


def _add_collections(listing: Listing) -> None:
    for title, kind, url_paths in (
        ("Studies", "study", listing.studies),
        ("Searches", "search", listing.searches),
    ):
        if url_paths:
            links = "".join(link(folder_url(kind, path), path or "(this)") for path in url_paths)
            put(f'<div class="chips"><span>{title}</span>{links}</div>')


def _add_search_box(search: str) -> ui.input:
    """Add a row of tools with the search box; return the box."""
    with ui.element("div").classes("tools"):
        return ui.input("Search", value=search).props("dense outlined clearable").classes("grow")


def _add_table(columns: Sequence[Column], rows: list[TableRow], key: str, box: ui.input) -> Any:
    table = ui.table(columns=[column.options for column in columns], rows=rows, row_key=key)
    table.props("flat dense virtual-scroll binary-state-sort :virtual-scroll-item-size=33")
    table.props('no-data-label="No run matches." hide-selected-banner').classes("list")
    table.add_slot("body-cell", _CELL)
    return table.bind_filter_from(box, "value", lambda value: value or "")


def _add_runs(index: Index, rows: list[TableRow], group: str, search: str) -> None:
    """Add the table of runs with its tools; later it looks at the folders at intervals."""
    box = _add_search_box(search)
    with box.parent_slot or box:
        filters = {
            key: ui.select([], label=key.capitalize(), on_change=lambda: show_rows()).props(
                "dense outlined clearable options-dense"
            )
            for key in ("state", "data")
        }
        ui.button("Compare", on_click=lambda: compare()).props("unelevated no-caps color=primary")
    table = _add_table(tables.RUN_COLUMNS, [], "url_path", box).set_selection("multiple")
    count = put("", classes="muted")

    async def refresh() -> None:
        nonlocal rows
        rows = await asyncio.to_thread(lambda: _group_rows(index.listing(), group))
        show_rows()

    def show_rows() -> None:
        for key, select in filters.items():
            options = sorted({row[key] for row in rows if row[key]})
            if options != select.options:
                select.set_options(options)
        matches = [r for r in rows if all(s.value in (None, r[key]) for key, s in filters.items())]
        if matches != table.rows:
            table.rows = matches
        count.content = _count_runs(matches)

    def compare() -> None:
        url_paths = [row["url_path"] for row in table.selected]
        if len(url_paths) < 2:
            ui.notify("Choose two runs or more in the first column.")
        else:
            ui.navigate.to(page_url("/compare", runs=url_paths))

    show_rows()
    ui.timer(_POLL_SECONDS, refresh, immediate=False)
