"""Options, tables, plain values and figures that studies and searches write in the same way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cifarlab.plots.spec import require_formats
from cifarlab.system.errors import UserError
from cifarlab.system.formatting import rows_to_csv

NOTHING = "-"


def require_valid_options(formats: Sequence[str], **counts: int | None) -> None:
    """Refuse an unknown figure format and a count below 1.

    Args:
        formats: figure formats, such as ``svg``
        **counts: counts by the option that sets them; None where it was not given

    Raises:
        UserError: a format is unknown or a count is below 1
    """
    require_formats(formats)
    for option, count in counts.items():
        if count is not None and count < 1:
            name = option.replace("_", "-")
            raise UserError(f"--{name} {count}: that is no number of runs", "take 1 or more")


def describe_scale(scale: float) -> str:
    """Return a sentence that says what a scale did to a study or search."""
    return f"At scale {scale:g}: {scale:g} of the training images and {scale:g} of the epochs."


def markdown_table(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    rows = [headers, ["---"] * len(headers), *cells]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows
    )


def csv_table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows with the same keys as CSV, numbers unrounded."""
    return rows_to_csv([rows[0], *(row.values() for row in rows)])


def as_json(value: Any) -> Any:
    """Return a value as JSON types, with named tuples and models as mappings."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value


def write_figures(
    figures: Any, subject: Any, folder: Path, formats: Sequence[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Write figures to a folder.

    Args:
        figures: what ``plots.draw.draw_all`` takes: by name, the function and the alt text
        subject: what the functions draw
        folder: folder to write to
        formats: file formats, such as ``svg``

    Returns:
        (slug, alt text) of each figure written, and, in words, why there is none.

    Raises:
        StorageError: a file can't be written
    """
    from cifarlab.plots.draw import draw_all
    from cifarlab.plots.style import save

    pictures = draw_all(figures, subject, formats).values()
    for picture in pictures:
        save(picture, folder)
    return [(picture.slug, picture.alt) for picture in pictures], []
