"""Write reports: run folders in, one HTML page and its figures out.

Only the run folders are read, of finished and unfinished runs alike. Matplotlib and Jinja are
imported when a report is written.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarlab.plots.spec import require_formats
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import PluginError, RunFolderError
from cifarlab.system.files import is_folder, write_text

if TYPE_CHECKING:
    from cifarlab.plots.draw import Figures
    from cifarlab.plots.style import Picture

    Compare = Callable[[Sequence[Path], Sequence[str]], tuple[str, Sequence[Picture]]]


def write_report(
    runs: Sequence[Path | str],
    out: Path | None = None,
    formats: Sequence[str] = ("svg",),
    on_start: Callable[[], None] = lambda: None,
    compare: "Compare | None" = None,
) -> Path:
    """Write one self-contained HTML page about ``runs``; return its path.

    Every figure also goes to ``figures/`` beside the page, as SVG and in the other formats. The
    same runs give the same bytes. A run whose plug-ins may not be loaded is named and left out.

    Args:
        runs: the run folders
        out: the page, or a folder for it; by default RUN/report/report.html for one run and
            ./report/report.html for several
        formats: formats of the figures besides SVG: png (200 dpi), pdf
        on_start: called once the runs are read; drawing then takes seconds
        compare: returns of several run folders and the formats what compares them, as HTML, and its
            figures

    Raises:
        RunFolderError: a folder is no run or is damaged
        UserError: a format is unknown
        RecipeError: a run's recipe can't be read
        PluginError: every run is left out
        StorageError: the page can't be written
    """
    from cifarlab.report.html import render_report
    from cifarlab.run_folder.run_data import describe_left_out, read_readable_runs

    if not runs:
        raise RunFolderError("there is no run to report on", "name at least one run folder")
    require_formats(formats)
    readable, left_out = read_readable_runs([Path(run) for run in runs], (PluginError,))
    if not readable:
        raise next(iter(left_out.values()))
    on_start()
    paths, is_single = [run.path for run in readable], len(readable) == 1
    verdicts, shared = ("", []) if is_single or not compare else compare(paths, formats)
    title = "" if is_single else f"{len(readable)} runs compared"
    options = {"title": title, "verdicts": verdicts}
    text, figures = render_report(readable, formats, describe_left_out(left_out), **options)
    default = RunFolder(paths[0]).report if is_single else Path("report") / "report.html"
    return write_page(text, [*figures, *shared], default, out)


def write_page(html: str, figures: "Sequence[Picture]", default: Path, out: Path | None) -> Path:
    """Write a page, and each figure to ``figures/`` beside it; return its path.

    Args:
        html: the page
        figures: its figures
        default: where it is written
        out: another place: the page, or a folder for it

    Raises:
        StorageError: a file can't be written
    """
    from cifarlab.plots.style import save

    target = default if out is None else out / "report.html" if is_folder(out) else out
    for figure in figures:
        save(figure, target.parent / "figures")
    write_text(target, html)
    return target


def write_figures(
    figures: "Figures[Any]", subject: Any, folder: Path, formats: Sequence[str]
) -> list[tuple[str, str]]:
    """Write figures to a folder.

    Args:
        figures: what ``plots.draw.draw_all`` takes: by name, the function and the alt text
        subject: what the functions draw
        folder: folder to write to
        formats: file formats, such as ``svg``

    Returns:
        (slug, alt text) of each figure written.

    Raises:
        StorageError: a file can't be written
    """
    from cifarlab.plots.draw import draw_all
    from cifarlab.plots.style import save

    pictures = draw_all(figures, subject, formats).values()
    for picture in pictures:
        save(picture, folder)
    return [(picture.slug, picture.alt) for picture in pictures]
