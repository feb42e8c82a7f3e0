"""Figures that other commands drew beside a run, a study or a search, shown as they are."""

import re
from pathlib import Path

from markupsafe import Markup
from starlette.responses import FileResponse, Response

from cifarlab.dashboard.index import Index
from cifarlab.dashboard.urls import folder_url
from cifarlab.experiments.search.figures import FIGURES as SEARCH_FIGURES
from cifarlab.plots.catalog import FIGURES
from cifarlab.plots.spec import WIDE
from cifarlab.run_folder.explained import KINDS
from cifarlab.system.errors import RunFolderError

_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
_FOLDERS = ("explained", "figures", "report/figures")
_INSIDE = ("weights", "activations", "signals")  # all others of a run are on its page anyway
_ON_PAGE = tuple(f"-{kind}" for kind in FIGURES if kind not in _INSIDE)
# by the last word of a file's name; those of a report have theirs there
_TITLES = {kind: caption for kind, (_, caption) in (FIGURES | SEARCH_FIGURES).items()} | {
    "maps": "Where it looks",
    "mistakes": "Where it looked when it was wrong",
    "features": "The way of an image through the network",
    "filters": "The first layer's filters",
    "sanity_check": "What remains of the maps when layers lose their weights",
    "architecture": "The network",
    "figure": "Accuracy by row",
}
_ORDER = [*KINDS, *_TITLES]  # figures without a title of their own come last
_MOST_BYTES = 2**25
_WIDTH = re.compile(rb'<svg[^>]* width="([1-9]\d{0,3}(?:\.\d+)?)pt"')
# Opened by itself, a figure from elsewhere may neither run nor load anything.
_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def find_figures(folder: Path) -> list[Path]:
    """Return a folder's figures in the order of their titles, without those the page draws itself.

    A report names its figures after the folder: of a kind, as of a folder that was renamed, the
    newest is shown.
    """
    files = [
        file for name in _FOLDERS for file in sorted((folder / name).glob("*.svg"), key=_order)
    ]
    newest = {
        (file.parent, _kind(file)): file for file in sorted(files, key=lambda f: f.stat().st_mtime)
    }
    return [f for f in files if f in newest.values() and not f.stem.endswith(_ON_PAGE)]


def title(file: Path) -> str:
    """Return what a figure shows, in words."""
    title_text = file.stem.replace("-", " ").replace("_", " ").capitalize()
    suffix = ", of the images given" if file.stem.startswith("given-") else ""
    return _TITLES[_kind(file)] + suffix if _kind(file) in _TITLES else title_text


def _kind(file: Path) -> str:
    return file.stem.rpartition("-")[2]


def _order(file: Path) -> tuple[int, str]:
    kind = _kind(file)
    return _ORDER.index(kind) if kind in _TITLES else len(_ORDER), file.name


def width(file: Path) -> float:
    """Return a figure's width in inches, by which all are shown at one scale."""
    try:
        with file.open("rb") as opened:
            stated = _WIDTH.search(opened.read(1024))
    except OSError:
        stated = None
    return float(stated[1]) / 72 if stated else WIDE


def sheets(index: Index, files: list[Path]) -> Markup:
    """Return figures on white, each under its title; inside of an <img> nothing in them runs."""
    return Markup("").join(
        Markup(
            "<h3>{0}</h3><div class='sheet' style='--inches:{1:.2f}'>"
            "<img loading='lazy' src='{2}' alt='{0}'></div>"
        ).format(title(file), width(file), folder_url("figure", index.url_path(file.resolve())))
        for file in files
    )


def serve_figure(index: Index, url_path: str) -> Response:
    """Return the response with one figure under the root, or 404 for anything else."""
    try:
        file = index.path(Path(url_path).parent.as_posix()) / Path(url_path).name
        servable = file.suffix in _KINDS and file.is_file() and not file.is_symlink()
        if not servable or file.stat().st_size > _MOST_BYTES:
            return Response(status_code=404)
    except (RunFolderError, OSError, ValueError):
        return Response(status_code=404)
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
    return FileResponse(file, media_type=_KINDS[file.suffix], headers=headers)
