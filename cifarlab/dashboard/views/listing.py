"""The list: every run, or every recipe with its mean over seeds."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from nicegui import ui

from cifarlab.dashboard.frame import Site, framed, put, put_table, section
from cifarlab.dashboard.index import Listing
from cifarlab.dashboard.tables import TableRow, recipe_rows, run_rows
from cifarlab.dashboard.urls import compare_url, link, list_url, search_url, study_url

_PACE = 5.0  # seconds between two looks at all folders
_MOST_COMPARED = 24
_POINTS = "v => v == null ? '—' : v.toFixed(2)"
_COUNT = "v => v == null ? '—' : v.toLocaleString('en')"
# the time of today's, the date of others: so that all columns fit
_WHEN = (
    "v => { if (!v) return '—'; const [day, time] = new Date(1000 * v).toLocaleString('sv')"
    ".split(' '); return day === new Date().toLocaleString('sv').slice(0, 10) ? time.slice(0, 5)"
    " : day }"
)
_TIME = (
    "v => v == null ? '—' : v < 60 ? v.toFixed(1) + ' s' : v < 3600 ? (v / 60).toFixed(1) + ' min'"
    " : (v / 3600).toFixed(1) + ' h'"
)


def _column(name: str, title: str, form: str = "", *, wide: bool = False) -> dict[str, Any]:
    """Return a column, of numbers with a form; a ``wide`` one is hidden on narrow screens."""
    column: dict[str, Any] = {"name": name, "label": title, "field": name, "sortable": True}
    column["align"] = "right" if form else "left"
    if form:
        column[":format"] = form
        column[":sort"] = "(a, b) => (a ?? -Infinity) - (b ?? -Infinity)"
    if wide:
        column |= {"classes": "wide", "headerClasses": "wide"}
    return column


_OF_RUNS = [
    _column("run", "run"),
    _column("state", "state"),
    _column("test", "test %", _POINTS),
    _column("val", "validation %", _POINTS),
    _column("recipe", "recipe", wide=True),
    _column("seed", "seed", _COUNT),
    _column("data", "data", wide=True),
    _column("epochs", "epochs", _COUNT),
    _column("seconds", "training", _TIME),
    _column("parameters", "parameters", _COUNT, wide=True),
    _column("last_modified", "last written", _WHEN),
]
_OF_RECIPES = [
    _column("recipe", "recipe"),
    _column("n", "seeds", _COUNT),
    _column("test", "test %", _POINTS),
    _column("spread", "deviation", _POINTS),
    _column("least", "least", _POINTS),
    _column("most", "most", _POINTS),
    _column("val", "validation %", _POINTS),
    _column("val_spread", "deviation", _POINTS, wide=True),
    _column("data", "data"),
    _column("open", "left out", _COUNT),
    _column("seconds", "training", _TIME, wide=True),
]
# Vue escapes what stands between double braces and in bound attributes.
_RUN_CELL = (
    '<q-td :props="props" class="name"><a :href="props.row.url" :title="props.row.url_path">'
    "{{ props.value }}</a></q-td>"
)
_STATE_CELL = (
    '<q-td :props="props"><span class="state" :class="props.value" :title="props.row.problem">'
    "{{ props.value }}</span></q-td>"
)
_WHEN_CELL = (
    '<q-td :props="props"><span :title="props.row.last_modified ? '
    "new Date(1000 * props.row.last_modified).toLocaleString('sv') : ''\">"
    "{{ props.value }}</span></q-td>"
)
_TITLED_CELL = '<q-td :props="props"><span :title="props.value">{{ props.value }}</span></q-td>'
_TEST_CELL = (
    "<q-td :props=\"props\"><span :title=\"props.row.low == null ? '' : '95 % interval ' + "
    "props.row.low.toFixed(2) + ' to ' + props.row.high.toFixed(2)\">{{ props.value }}</span>"
    "</q-td>"
)
_RECIPE_CELL = (
    '<q-td :props="props" class="name"><a :href="\'/?group=\' + props.row.group">'
    "{{ props.value }}</a></q-td>"
)


async def show(site: Site, by: str, group: str, find: str) -> None:
    """Show the list ``by`` "recipe" or by run, of one ``group`` or all, that match ``find``."""
    listing = await asyncio.to_thread(site.index.listing)
    names = await asyncio.to_thread(site.index.group_names, listing.runs) if by or group else {}
    with framed(site, "", "Runs"):
        if by == "recipe":
            _recipes(listing, names, find)
        else:
            _runs(site, listing, (group, names.get(group, "")), find)
        _unrecognized(listing)


def _counted(rows: Sequence[Any]) -> str:
    return f"{len(rows):,} run" if len(rows) == 1 else f"{len(rows):,} runs"


def _titled(title: str, by: str) -> None:
    """Show the title, and the way to the other list."""
    links = "".join(
        f'<a href="{list_url(by=value)}"{" aria-current=true" if value == by else ""}>{word}</a>'
        for word, value in (("By run", ""), ("By recipe", "recipe"))
    )
    switch = f'<div class="switch" role="group" aria-label="a row is">{links}</div>'
    put(f'<div class="titled"><h1>{{}}</h1>{switch}</div>', title)


def _table(columns: list[dict[str, Any]], rows: list[TableRow], key: str, **more: Any) -> ui.table:
    table = ui.table(columns=columns, rows=rows, row_key=key, **more).classes("list")
    table.props("flat dense virtual-scroll binary-state-sort :virtual-scroll-item-size=33")
    table.props('no-data-label="No run matches." hide-selected-banner')
    return table


def _recipes(listing: Listing, names: dict[str, str], find: str) -> None:
    rows = recipe_rows(listing.runs, names)
    _titled("Recipes", "recipe")
    _collections(listing)
    with ui.element("div").classes("tools"):
        box = ui.input("Search", value=find).props("dense outlined clearable").classes("grow")
    table = _table([dict(column) for column in _OF_RECIPES], rows, "group")
    table.add_slot("body-cell-recipe", _RECIPE_CELL)
    table.bind_filter_from(box, "value", lambda value: value or "")
    put(
        '<p class="soft">Mean and sample deviation over the seeds of finished runs; those that are '
        "unfinished, or that a time limit or a search ended early, are left out. A recipe on other "
        "data is another row. Choose a recipe to see its runs.</p>"
    )


def _runs(site: Site, listing: Listing, selected_group: tuple[str, str], find: str) -> None:
    group, name = selected_group
    filters: dict[str, str | None] = {"state": None, "data": None}

    def rows_of(current: Listing) -> list[TableRow]:
        runs_shown = [run for run in current.runs if not group or run.group == group]
        rows = run_rows(runs_shown, time.time())
        return [row for row in rows if all(row[k] == v for k, v in filters.items() if v)]

    rows = rows_of(listing)
    _titled(f"{name}: {_counted(rows)}" if group else "Runs", "")
    if not group:
        _collections(listing)
    with ui.element("div").classes("tools"):
        box = ui.input("Search", value=find).props("dense outlined clearable").classes("grow")
        selects = {
            key: ui.select(
                sorted({row[key] for row in rows if row[key]}), label=key.capitalize()
            ).props("dense outlined clearable options-dense")
            for key in filters
        }
        compare = ui.button("Compare").props("unelevated no-caps color=primary")
    table = _table([dict(column) for column in _OF_RUNS], rows, "url_path", selection="multiple")
    table.add_slot("body-cell-run", _RUN_CELL)
    table.add_slot("body-cell-state", _STATE_CELL)
    table.add_slot("body-cell-test", _TEST_CELL)
    table.add_slot("body-cell-last_modified", _WHEN_CELL)
    for name in ("recipe", "data"):  # cut where they are long
        table.add_slot(f"body-cell-{name}", _TITLED_CELL)
    table.bind_filter_from(box, "value", lambda value: value or "")
    counted = put("", kind="soft")

    def refill(current: Listing) -> None:
        new = rows_of(current)
        if new != table.rows:
            table.rows = new
        counted.content = _counted(new)

    def choose(key: str, value: str | None) -> None:
        filters[key] = value
        refill(state["listing"])

    state = {"listing": listing}
    for key, select in selects.items():
        select.on_value_change(lambda event, key=key: choose(key, event.value))

    async def look() -> None:
        state["listing"] = await asyncio.to_thread(site.index.listing)
        refill(state["listing"])

    def compared() -> None:
        url_paths = [row["url_path"] for row in table.selected][:_MOST_COMPARED]
        if len(url_paths) < 2:
            ui.notify("Choose two runs or more in the first column.")
        else:
            ui.navigate.to(compare_url(url_paths))

    compare.on_click(compared)
    refill(listing)
    ui.timer(_PACE, look)


def _collections(listing: Listing) -> None:
    for title, url_paths, address in (
        ("Studies", listing.studies, study_url),
        ("Searches", listing.searches, search_url),
    ):
        if url_paths:
            links = "".join(link(address(url_path), url_path or "(this)") for url_path in url_paths)
            put(f'<div class="chips"><span>{title}</span>{links}</div>')


def _unrecognized(listing: Listing) -> None:
    if listing.unrecognized_entries:
        with section("Folders that can't be read as runs"):
            put_table(("folder", "why"), listing.unrecognized_entries)
