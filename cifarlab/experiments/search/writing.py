"""A search's table, page and figures, written into its folder."""

from collections.abc import Sequence
from pathlib import Path

from cifarlab.experiments.search.finalists import Finals
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.results import Explained
from cifarlab.experiments.search.table import as_tree, csv_text, page
from cifarlab.report.write import require_extra
from cifarlab.system.errors import MissingExtraError
from cifarlab.system.files import write_text


def write_explained(
    of: Explained, finals: Finals | None, folder: SearchFolder, formats: Sequence[str] = ("svg",)
) -> list[str]:
    """Write table, page and figures; what could not be made, in words. Raises StorageError."""
    folder.write({**folder.content(), "found": as_tree(of, finals)})
    if not of.rows:
        return []
    write_text(folder.path / "table.csv", csv_text(of))
    problems, names = _figures(of, folder.path / "figures", formats)
    write_text(folder.path / "page.md", page(of, finals, names))
    return problems


def _figures(
    of: Explained, place: Path, formats: Sequence[str]
) -> tuple[list[str], Sequence[tuple[str, str]]]:
    """What could not be drawn, and (file, what it shows) of each figure."""
    try:
        require_extra()
    except MissingExtraError as error:
        return [f"no figures: {error.what}; {error.hint}"], []
    from cifarlab.experiments.search.figures import pictures
    from cifarlab.plots.style import save

    made = pictures(of, formats)
    for picture in made:
        save(picture, place)
    return [], [(f"figures/{picture.slug}.svg", picture.alt) for picture in made]
