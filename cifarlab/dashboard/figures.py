"""Figures that other commands wrote into the folder of a run, a study or a search."""

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
_TENSOR_STATS = ("weights", "activations", "signals")  # a run's page draws all others itself
_CHART_SUFFIXES = tuple(f"-{kind}" for kind in FIGURES if kind not in _TENSOR_STATS)
# by the last word of a file's name
_TITLES = {kind: caption for kind, (_, caption) in (FIGURES | SEARCH_FIGURES).items()} | {
    "maps": "Where it looks",
    "mistakes": "Where it looked when it was wrong",
    "features": "The way of an image through the network",
    "filters": "The first layer's filters",
    "sanity_check": "What remains of the maps when layers lose their weights",
    "architecture": "The network",
    "curves": "Training and validation by epoch",  # of a study's rows, or of a search's trials
    "figure": "Accuracy by row",
    "evidence": "How the evidence grew, seed by seed",
}
_ORDER = [*KINDS, *_TITLES]  # figures without a title of their own come last
_MAX_BYTES = 2**25
_WIDTH = re.compile(rb'<svg[^>]* width="([1-9]\d{0,3}(?:\.\d+)?)pt"')
# A figure may come from anybody: in a tab of its own it may neither run nor load anything.
_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def find_figures(folder: Path) -> list[Path]:
    """Return a folder's figures in the order of their titles, but for those the page draws itself.

    A report names its figures after the folder, so a renamed folder may have two figures of a
    kind: the newest is returned.
    """
    files = [
        file for name in _FOLDERS for file in sorted((folder / name).glob("*.svg"), key=_sort_key)
    ]
    by_time = sorted(files, key=lambda file: file.stat().st_mtime)
    newest = {(file.parent, _kind(file)): file for file in by_time}.values()
    return [file for file in files if file in newest and not file.stem.endswith(_CHART_SUFFIXES)]


def figure_title(file: Path) -> str:
    """Return a figure's title."""
    file_title = file.stem.replace("-", " ").replace("_", " ").capitalize()
    suffix = ", of the images given" if file.stem.startswith("given-") else ""
    return _TITLES[_kind(file)] + suffix if _kind(file) in _TITLES else file_title


def _kind(file: Path) -> str:
    return file.stem.rpartition("-")[2]


def _sort_key(file: Path) -> tuple[int, str]:
    kind = _kind(file)
    return _ORDER.index(kind) if kind in _TITLES else len(_ORDER), file.name


def figure_width(file: Path) -> float:
    """Return a figure's width in inches: the page shows all figures at one scale."""
    try:
        with file.open("rb") as stream:
            match = _WIDTH.search(stream.read(1024))
    except OSError:
        match = None
    return float(match[1]) / 72 if match else WIDE


def figure_sheets(index: Index, files: list[Path]) -> Markup:
    """Return figures on white, each under its title; in an <img> no script of theirs runs."""
    urls = {file: folder_url("figure", index.url_path(file.resolve())) for file in files}
    return Markup("").join(
        Markup(
            "<h3>{0}</h3><div class='sheet' style='--inches:{1:.2f}'>"
            "<img loading='lazy' src='{2}' alt='{0}'></div>"
        ).format(figure_title(file), figure_width(file), url)
        for file, url in urls.items()
    )


def serve_figure(index: Index, url_path: str) -> Response:
    """Return the response with one figure under the root, 404 for anything else."""
    try:
        file = index.path(Path(url_path).parent.as_posix()) / Path(url_path).name
        servable = file.suffix in _KINDS and file.is_file() and not file.is_symlink()
        if not servable or file.stat().st_size > _MAX_BYTES:
            return Response(status_code=404)
    except (RunFolderError, OSError, ValueError):
        return Response(status_code=404)
    headers = {"content-security-policy": _POLICY, "cache-control": "no-cache"}
    return FileResponse(file, media_type=_KINDS[file.suffix], headers=headers)
