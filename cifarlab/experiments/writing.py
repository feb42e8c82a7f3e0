"""What studies and searches check, and write, alike: options, tables, plain values, figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from cifarlab.plots.spec import require_formats
from cifarlab.report.write import require_extra
from cifarlab.system.errors import MissingExtraError, UserError
from cifarlab.system.formatting import rows_to_csv

NOTHING = "-"


def require_sound(formats: Sequence[str], **counts: int | None) -> None:
    """Raise UserError for a figure's format that is none, or a count below 1 of that option."""
    require_formats(formats)
    for option, count in counts.items():
        if count is not None and count < 1:
            name = option.replace("_", "-")
            raise UserError(f"--{name} {count}: that is no number of runs", "take 1 or more")


def scale_words(scale: float) -> str:
    """Return what a scale did to a study, for every table and figure."""
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
    """Return plain values, each under its name."""
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
    """Write figures as ``plots.draw.draw_all`` takes them; return (slug, words) of those there are.

    And, in words, why there are none. Raises StorageError.
    """
    try:
        require_extra()
    except MissingExtraError as error:
        return [], [f"no figures: {error.what}; {error.hint}"]
    from cifarlab.plots.draw import draw_all
    from cifarlab.plots.style import save

    pictures = draw_all(figures, subject, formats).values()
    for picture in pictures:
        save(picture, folder)
    return [(picture.slug, picture.alt) for picture in pictures], []
