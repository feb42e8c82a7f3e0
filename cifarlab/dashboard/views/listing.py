"""The list: every run, or every recipe with its mean over seeds."""

import asyncio
import time
from collections.abc import Sequence

from nicegui import ui

from cifarlab.dashboard.frame import framed, put, put_table, section
from cifarlab.dashboard.index import Index, Listing
from cifarlab.dashboard.tables import OF_RECIPES, OF_RUNS, Column, TableRow, recipe_rows, run_rows
from cifarlab.dashboard.urls import folder_url, link, page_url

_PACE = 5.0  # seconds between two looks at all folders
# Vue escapes what stands between double braces and in bound attributes.
_CELL = """
<q-td :props="props">
  <component :is="props.row.links[props.col.name] ? 'a' : 'span'"
    :href="props.row.links[props.col.name]" :title="props.row.titles[props.col.name] ?? props.value"
    :class="props.col.name === 'state' ? ['state', props.value] : ''">{{ props.value }}</component>
</q-td>"""

_NOTE = (
    '<p class="soft">Mean and sample standard deviation (std) over the seeds of finished runs; '
    "those that are unfinished, or that a time limit or a search ended early, are left out. "
    "A recipe on other data is another row. Choose a recipe to see its runs.</p>"
)


async def show(index: Index, by: str = "", group: str = "", find: str = "") -> None:
    """Show the list ``by`` "recipe" or by run, of one ``group`` or all, that match ``find``."""
    listing = await asyncio.to_thread(index.listing)
    by_recipe = by == "recipe"
    names = {}
    if by_recipe or group:
        names = await asyncio.to_thread(index.group_names, listing.runs)
    with framed(index, "", "Runs"):
        runs = _members(listing, group)
        title = f"{names.get(group, '')}: {_counted(runs)}" if group else "Runs"
        _titled("Recipes" if by_recipe else title, by)
        if not group or by_recipe:
            _collections(listing)
        if by_recipe:
            _table(OF_RECIPES, recipe_rows(listing.runs, names), "group", _search(find))
            put(_NOTE)
        else:
            await _runs(index, group, find)
        if listing.unrecognized_entries:
            with section("Folders that can't be read as runs"):
                put_table(("folder", "why"), listing.unrecognized_entries)


def _members(listing: Listing, group: str) -> list[TableRow]:
    return run_rows((run for run in listing.runs if group in ("", run.group)), time.time())


def _counted(rows: Sequence[TableRow]) -> str:
    return f"{len(rows):,} run" if len(rows) == 1 else f"{len(rows):,} runs"


def _titled(title: str, by: str) -> None:
    """Show the title, and the way to the other list."""
    links = "".join(
        f'<a href="{page_url("/", by=value)}"{" aria-current=true" if value == by else ""}>'
        f"{word}</a>"
        for word, value in (("By run", ""), ("By recipe", "recipe"))
    )
    switch = f'<div class="switch" role="group" aria-label="a row is">{links}</div>'
    put(f'<div class="titled"><h1>{{}}</h1>{switch}</div>', title)


def _collections(listing: Listing) -> None:
    for title, kind, url_paths in (
        ("Studies", "study", listing.studies),
        ("Searches", "search", listing.searches),
    ):
        if url_paths:
            links = "".join(link(folder_url(kind, path), path or "(this)") for path in url_paths)
            put(f'<div class="chips"><span>{title}</span>{links}</div>')


def _search(find: str) -> ui.input:
    """Show the box to search in, beside which more may stand."""
    with ui.element("div").classes("tools"):
        return ui.input("Search", value=find).props("dense outlined clearable").classes("grow")


def _table(columns: Sequence[Column], rows: list[TableRow], key: str, box: ui.input) -> ui.table:
    table = ui.table(columns=[column.options for column in columns], rows=rows, row_key=key)
    table.props("flat dense virtual-scroll binary-state-sort :virtual-scroll-item-size=33")
    table.props('no-data-label="No run matches." hide-selected-banner').classes("list")
    table.add_slot("body-cell", _CELL)
    return table.bind_filter_from(box, "value", lambda value: value or "")


async def _runs(index: Index, group: str, find: str) -> None:
    box = _search(find)
    with box.parent_slot or box:
        filters = {
            key: ui.select([], label=key.capitalize(), on_change=lambda: look()).props(
                "dense outlined clearable options-dense"
            )
            for key in ("state", "data")
        }
        ui.button("Compare", on_click=lambda: compare()).props("unelevated no-caps color=primary")
    table = _table(OF_RUNS, [], "url_path", box).set_selection("multiple")
    counted = put("", kind="soft")

    async def look() -> None:
        rows = await asyncio.to_thread(lambda: _members(index.listing(), group))
        for key, select in filters.items():
            options = sorted({row[key] for row in rows if row[key]})
            if options != select.options:
                select.set_options(options)
        shown = [row for row in rows if all(s.value in (None, row[k]) for k, s in filters.items())]
        if shown != table.rows:
            table.rows = shown
        counted.content = _counted(shown)

    def compare() -> None:
        url_paths = [row["url_path"] for row in table.selected]
        if len(url_paths) < 2:
            ui.notify("Choose two runs or more in the first column.")
        else:
            ui.navigate.to(page_url("/compare", runs=url_paths))

    await look()
    ui.timer(_PACE, look, immediate=False)
