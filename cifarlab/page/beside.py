"""Figures that other commands drew beside a run, a study or a search, shown as they are."""

from pathlib import Path

from starlette.responses import FileResponse, Response

from cifarlab.errors import RunFolderError
from cifarlab.page import markup
from cifarlab.page.index import Index
from cifarlab.page.places import figure_address

_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
_PLACES = ("explained", "figures", "report/figures")
_SHOWN = ("-curves", "-confusion", "-classes", "-mistakes")  # the page draws these itself
_MOST_BYTES = 2**25
# Opened by itself, a figure from elsewhere may neither run nor load anything.
_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def figures(folder: Path) -> list[Path]:
    """The drawn figures of a folder, those left out that the page draws itself."""
    files = [file for place in _PLACES for file in sorted((folder / place).glob("*.svg"))]
    return [file for file in files if not file.stem.endswith(_SHOWN)]


def sheets(index: Index, files: list[Path]) -> str:
    """Figures on white, each under its name; inside of an <img> nothing in them runs."""
    parts = []
    for file in files:
        name = file.stem.replace("-", " ").replace("_", " ")
        address = figure_address(index.place(file.resolve()))
        parts.append(
            f"<h3>{markup.text(name)}</h3><div class='sheet'>"
            f"<img loading='lazy' src='{markup.text(address)}' alt='{markup.text(name)}'></div>"
        )
    return "".join(parts)


def answer(index: Index, place: str) -> Response:
    """One figure under the root, or 404 for anything else."""
    try:
        file = index.path(Path(place).parent.as_posix()) / Path(place).name
        whole = file.suffix in _KINDS and file.is_file() and not file.is_symlink()
        if not whole or file.stat().st_size > _MOST_BYTES:
            return Response(status_code=404)
    except (RunFolderError, OSError, ValueError):
        return Response(status_code=404)
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
    return FileResponse(file, media_type=_KINDS[file.suffix], headers=headers)
