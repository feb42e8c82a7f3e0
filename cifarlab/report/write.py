"""Reports: run folders in, one HTML page and its figures out.

Reads what a run left behind (``cifarlab.run_folder``) and nothing else; works on finished and
unfinished runs alike. Matplotlib and Jinja are imported only when a report is made.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from cifarlab.plots.spec import require_formats
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import PluginError, RunFolderError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import is_folder, write_text


def write_report(
    runs: Sequence[Path | str],
    out: Path | None = None,
    formats: Sequence[str] = ("svg",),
    started: Callable[[], None] = lambda: None,
) -> Path:
    """Write one self-contained HTML page about ``runs``; return its path.

    ``out`` is the page, or a folder for it; by default RUN/report/report.html for one run and
    ./report/report.html for several. Every figure also goes to ``figures/`` beside the page: as
    SVG, and in the other ``formats``, of png (200 dpi) and pdf. The same runs give the same bytes.
    ``started`` is called once they are read, since drawing takes seconds. Raises RunFolderError
    for a folder that is no run or is damaged, UserError for an unknown format, RecipeError,
    MissingExtraError, StorageError, and PluginError where no run is left: one whose plug-ins may
    not be loaded is named and left out.
    """
    require_extra()
    from cifarlab.plots.style import save
    from cifarlab.report.html import page
    from cifarlab.run_folder.run_data import describe_left_out, read_readable_runs

    if not runs:
        raise RunFolderError("there is no run to report on", "name at least one run folder")
    require_formats(formats)
    read, left_out = read_readable_runs([Path(run) for run in runs], (PluginError,))
    if not read:
        raise next(iter(left_out.values()))
    started()
    if out is None:
        usual = RunFolder(read[0].path).report
        target = usual if len(read) == 1 else Path("report") / "report.html"
    else:
        target = out / "report.html" if is_folder(out) else out
    text, figures = page(read, formats, describe_left_out(left_out))
    for figure in figures:
        save(figure, target.parent / "figures")
    write_text(target, text)
    return target


def require_extra() -> None:
    """Raise MissingExtraError where the libraries that draw and lay out are not installed."""
    require_packages("a report", "report", "matplotlib", "jinja2")
