"""A study: what it asks, its table and figure with verdicts, its runs with their states."""

from typing import Any

from cifarlab.dashboard import figures
from cifarlab.dashboard.frame import (
    Site,
    framed,
    put,
    put_table,
    section,
    show_errors,
    watch,
)
from cifarlab.dashboard.index import file_stamp
from cifarlab.dashboard.urls import run_link
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.table import footing, format_rows, heading, restore_comparison
from cifarlab.report.html import parts
from cifarlab.run_folder.run_data import dig


async def show(site: Site, url_path: str) -> None:
    """Show the study at ``url_path``; it is read anew when its file changes."""
    with framed(site, url_path or site.index.root.name), show_errors():
        folder = StudyFolder(site.index.path(url_path, "study"))
        watch(lambda: file_stamp(folder.file), lambda: _study(site, folder))


def _study(site: Site, folder: StudyFolder) -> None:
    content = folder.content()
    put("<h1>{}</h1>", dig(content, "study", "name") or folder.path.name)
    put("<p>{}</p>", dig(content, "study", "about") or "")
    runs = [run for run in content.get("runs", []) if isinstance(run, dict)]
    done = sum(run.get("state") == "finished" for run in runs)
    put('<p class="soft">{} of {} runs are finished.</p>', done, len(runs))
    if content.get("comparison") is None:
        put(parts().notes(["It has not come to its end: there is no comparison yet."]))
    else:
        with section("Which is better, and is that real?"):
            show_comparison(restore_comparison(content["comparison"]))
        with section("The figure"):
            figure = folder.path / "figure.svg"
            put(figures.sheets(site.index, [figure]) if figure.exists() else "No figure was drawn.")
    with section("Its runs"):
        put_table(("row", "seed", "state", "run"), [_run(site, folder, r) for r in runs])


def show_comparison(comparison: Comparison) -> None:
    """Show a comparison as a table, under what all its numbers share."""
    for line in heading(comparison):
        put('<p class="soft">{}</p>', line)
    put_table(*format_rows(comparison))
    put(parts().notes(footing(comparison)))


def _run(site: Site, folder: StudyFolder, run: dict[str, Any]) -> tuple[Any, ...]:
    failure = dig(run, "failure", "what")
    state = f"failed: {failure}" if failure else run.get("state", "")
    named: Any = ""
    if run_path := run.get("run"):
        path = (folder.path / str(run_path)).resolve()
        named = path.name
        if path.is_relative_to(site.index.root):
            named = run_link(site.index.url_path(path), path.name)
    return run.get("row", ""), run.get("seed", ""), state, named
