"""A search's table, page and figures, written into its folder."""

from collections.abc import Sequence
from pathlib import Path

from cifarlab.experiments.search.finalists import Finalists
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.results import SearchResults
from cifarlab.experiments.search.table import csv_text, markdown_page, results_as_json
from cifarlab.report.write import require_extra
from cifarlab.system.errors import MissingExtraError
from cifarlab.system.files import write_text


def write_results(
    results: SearchResults,
    finalists: Finalists | None,
    folder: SearchFolder,
    formats: Sequence[str] = ("svg",),
) -> list[str]:
    """Write table, page and figures; what could not be made, in words. Raises StorageError."""
    folder.write({**folder.content(), "results": results_as_json(results, finalists)})
    if not results.rows:
        return []
    write_text(folder.path / "table.csv", csv_text(results))
    problems, names = _figures(results, folder.path / "figures", formats)
    write_text(folder.path / "page.md", markdown_page(results, finalists, names))
    return problems


def _figures(
    results: SearchResults, directory: Path, formats: Sequence[str]
) -> tuple[list[str], Sequence[tuple[str, str]]]:
    """What could not be drawn, and (file, what it shows) of each figure."""
    try:
        require_extra()
    except MissingExtraError as error:
        return [f"no figures: {error.what}; {error.hint}"], []
    from cifarlab.experiments.search.figures import FIGURES
    from cifarlab.plots.draw import draw_all
    from cifarlab.plots.style import save

    drawn_pictures = draw_all(FIGURES, results, formats).values()
    for picture in drawn_pictures:
        save(picture, directory)
    return [], [(f"figures/{picture.slug}.svg", picture.alt) for picture in drawn_pictures]
