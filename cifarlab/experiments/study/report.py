"""A comparison on a page: of the runs of a report, of a study, in the dashboard, in a notebook."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cifarlab.experiments.study import table
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.figure import FIGURES
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.margin import margin_table
from cifarlab.experiments.study.outcomes import AnyMetric, compare_runs
from cifarlab.plots.spec import require_formats
from cifarlab.report.write import write_page
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError, UserError

if TYPE_CHECKING:
    from markupsafe import Markup

    from cifarlab.plots.style import Picture

RUN_FIGURES = ("figure", "evidence", "flips", "intervals")  # a report of runs has its own curves


def compare_named(
    names: Sequence[str], runs: Path = RUNS, metric: AnyMetric | str = "accuracy"
) -> tuple[Comparison | None, list[str]]:
    """Compare runs as ``compare --by image`` does, as far as that is possible.

    Args:
        names: as in ``compare_runs``
        runs: as in ``compare_runs``
        metric: as in ``compare_runs``

    Returns:
        The comparison, None of a single recipe, and what was not possible, in words.
    """
    problems: list[str] = []
    for by, words in (("image", "image by image "), (None, "")):
        try:
            comparison = compare_runs(names, runs=runs, metric=metric, by=by)
            return (comparison if len(comparison.rows) > 1 else None), problems
        except CifarlabError as error:
            problems.append(f"These runs can't be compared {words}here: {error.what}.")
    return None, problems[-1:]


def render_verdicts(comparison: Comparison) -> "Markup":
    """Return the table as HTML, with what stands over and under it."""
    from cifarlab.report.html import parts

    columns, margins = table.column_table(comparison), margin_table(comparison.margin_rows)
    notes = [*table.footing(comparison), *[table.COLUMNS_NOTE] * bool(columns[0])]
    tables = table.format_rows(comparison), columns, margins
    html: Markup = parts().verdicts(table.heading(comparison), tables, notes)
    return html


def render_comparison(
    comparison: Comparison,
    kinds: Iterable[str] = FIGURES,
    formats: Sequence[str] = ("svg",),
    prefix: str = "",
) -> tuple["Markup", list["Picture"]]:
    """Return tables and figures as HTML, and the figures.

    Args:
        comparison: the comparison
        kinds: those of ``FIGURES`` that are drawn where there is something to show
        formats: formats of the figures besides SVG
        prefix: the start of the figures' names
    """
    from cifarlab.plots.draw import draw_all
    from cifarlab.report.html import render

    figures = {kind: FIGURES[kind] for kind in kinds}
    pictures = draw_all(figures, comparison, formats, prefix)
    values = {"pictures": pictures, "by_image": comparison.by_image}
    html = render("comparison.html", verdicts=render_verdicts(comparison), **values)
    return html, [*pictures.values()]


def compare_for_report(
    runs: Sequence[Path], formats: Sequence[str]
) -> tuple["Markup", list["Picture"]]:
    """Return the part of a report that says which of its runs' recipes is better.

    Args:
        runs: the run folders
        formats: formats of the figures besides SVG
    """
    from cifarlab.report.html import parts

    comparison, problems = compare_named([*map(str, runs)])
    notes: Markup = parts().notes(problems)
    if comparison is None:
        return notes, []
    html, pictures = render_comparison(comparison, RUN_FIGURES, formats, "comparison-")
    return notes + html, pictures


def write_study_report(
    path: Path, out: Path | None, formats: Sequence[str], on_start: Callable[[], None]
) -> Path:
    """Write one self-contained HTML page about a study; return its path.

    Args:
        path: the study's folder
        out: the page, or a folder for it; by default STUDY/report/report.html
        formats: formats of the figures besides SVG
        on_start: called once the study is read

    Raises:
        UserError: a format is unknown, or the study has not come to its end
        RunFolderError: its file is damaged
        PluginError: a plug-in of the study can't be loaded
        StorageError: the page can't be written
    """
    from cifarlab.report.html import parts, render_report

    require_formats(formats)
    folder = StudyFolder(path)
    if (tree := folder.content().get("comparison")) is None:
        raise UserError(f"{path} has not come to its end", "run the study again, with --resume")
    study = folder.study()
    comparison = table.restore_comparison(tree)
    live, problems = compare_named([str(path)], metric=study.metric)
    if live:
        of_rows = tuple(live.runs_by_row.get(row.name, ()) for row in comparison.rows)
        comparison = comparison._replace(runs=of_rows, by_image=live.by_image)
    on_start()
    html, pictures = render_comparison(comparison, formats=formats)
    html = parts().notes(problems) + html
    page, _ = render_report([], title=study.name, about=study.about, verdicts=html)
    return write_page(page, pictures, RunFolder(path).report, out)
