"""The report's HTML: one file with all texts, tables and figures, which needs no other file.

The dashboard fills the same templates.
"""

import base64
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from cifarlab.plots import images
from cifarlab.plots import run as plots
from cifarlab.plots.catalog import FIGURES, SHARED_FIGURES
from cifarlab.plots.draw import draw_all
from cifarlab.plots.style import Picture
from cifarlab.report import by_image, compare, diagnosis, settings, tables
from cifarlab.run_folder.explained import CaptionedFigure
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData, dig
from cifarlab.system import formatting


def render_report(
    runs: Sequence[RunData],
    formats: Sequence[str] = ("svg",),
    exclusions: Sequence[str] = (),
    title: str = "",
    about: str = "",
    verdicts: str = "",
) -> tuple[str, list[Picture]]:
    """Return the HTML of a report on runs, on what was found by comparing some, or on both.

    Args:
        runs: the runs, in the order of the page
        formats: formats of the figures besides SVG
        exclusions: notes on runs that the report leaves out
        title: the page's title where it is not the run's name
        about: what the page is about
        verdicts: HTML that compares the runs' recipes

    Returns:
        The page, and all figures of the runs.
    """
    sections = [(run, draw_all(_figures(run), run, formats, f"{run.slug}-")) for run in runs]
    shared = draw_all(SHARED_FIGURES, runs, formats, "comparison-") if len(runs) > 1 else {}
    link = Markup('<a href="#run-{}">{}</a>')
    links = [link.format(index, run.name) for index, run in enumerate(runs, 1)]
    values = {"runs": runs, "links": links, "sections": sections, "shared": shared}
    values |= {"title": title or runs[0].name, "about": about, "verdicts": verdicts}
    html = render("page.html", **values, exclusions=exclusions, top=3)
    pictures = [picture for _, by_kind in sections for picture in by_kind.values()]
    return html, [*pictures, *shared.values()]


def _figures(run: RunData) -> dict[str, Any]:
    return {kind: (make, f"{alt}: {run.name}") for kind, (make, alt) in FIGURES.items()}


def render(template: str, **values: Any) -> Markup:
    """Return a template filled with values, which are escaped unless they are Markup."""
    return Markup(_environment().get_template(template).render(**values))


@cache
def parts() -> Any:
    """Return the macros of parts.html, as functions that return Markup."""
    return _environment().get_template("parts.html").module


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"svg_uri": _svg_uri, "png_uri": _png_uri}
    modules = by_image, compare, diagnosis, images, settings, tables
    environment.globals |= vars(formatting) | {m.__name__.rpartition(".")[2]: m for m in modules}
    environment.globals |= {"SPLIT_NAMES": SPLIT_NAMES, "dig": dig, "plots": plots}
    return environment


def _svg_uri(picture: Picture | CaptionedFigure) -> str:
    """Return an SVG as the URI for an <img>, where its ids are its own and no script runs."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg).decode("ascii")


def _png_uri(image: np.ndarray) -> str:
    """Return the URI of an image uint8 (H, W, C), C 1 or 3, at its own size: CSS scales it."""
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
