"""A search's table, page and figures, written into its folder."""

from collections.abc import Sequence

from cifarlab.experiments.search.figures import FIGURES
from cifarlab.experiments.search.finalists import Finalists
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.results import SearchResults
from cifarlab.experiments.search.table import csv_text, markdown_page, results_as_json
from cifarlab.experiments.writing import write_figures
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
    drawn, problems = write_figures(FIGURES, results, folder.path / "figures", formats)
    figures = [(f"figures/{slug}.svg", words) for slug, words in drawn]
    write_text(folder.path / "page.md", markdown_page(results, finalists, figures))
    return problems
