"""How every figure looks, and how it becomes bytes: one place for fonts, colours and files.

Colours are Okabe and Ito's, which stay apart for colour-blind readers and in grey print. Text is
drawn as paths, so that a figure looks the same on every machine.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matplotlib import font_manager
from matplotlib import style as matplotlib_style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.storage import written_whole

BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, INK, GREY = "#e69f00", "#56b4e9", "#222222", "#7a7a7a"
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
NARROW, WIDE = 4.3, 7.4  # inches: one column of a paper's page, and the page
PNG_DPI = 200

_RC = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.5,
    "lines.markersize": 3.5,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "text.parse_math": False,  # a class called "$" is no formula
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # journals refuse type 3
    "svg.hashsalt": "cifarlab",  # the same figure has the same ids
}
# DejaVu comes with Matplotlib; the others only help where a class name needs their script.
_FALLBACKS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans Devanagari")
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_NO_PDF_METADATA = {"Creator": None, "Producer": None, "CreationDate": None}


@dataclass(frozen=True)
class Picture:
    """A rendered figure: ``slug`` is its file name, ``alt`` says it in words."""

    slug: str
    alt: str
    svg: bytes
    png: bytes
    pdf: bytes
    wide: bool


@contextmanager
def styled() -> Iterator[None]:
    """Everything drawn or rendered inside follows this module, not the user's matplotlibrc."""
    installed = set(font_manager.get_font_names())
    families = ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]
    with (
        warnings.catch_warnings(),
        matplotlib_style.context(["default", {**_RC, "font.family": families}]),
    ):
        # A glyph that no font has is drawn as a box; the page's text still shows it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def sheet(width: float, height: float) -> Figure:
    """An empty figure of that size in inches; its parts find their places by themselves."""
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, grid: str = "y") -> None:
    """A light grid along one direction, or ``both``."""
    axes.grid(True, axis=grid)  # type: ignore[arg-type]


def label(text: str, longest: int = 28, end: bool = False) -> str:
    """``text`` fit for a figure: printable, one line, cut where it would push the axes away.

    With ``end`` its end is kept, which tells paths apart.
    """
    clean = "".join(c if c.isprintable() else "?" for c in text)
    if len(clean) <= longest:
        return clean
    return "…" + clean[1 - longest :] if end else clean[: longest - 1] + "…"


def render(figure: Figure, slug: str, alt: str) -> Picture:
    """All files of a figure as bytes, the same for the same figure. Call inside ``styled``."""
    vector, pixels, printed = io.BytesIO(), io.BytesIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata=_NO_METADATA)
    figure.set_layout_engine("none")  # all files keep the one layout, which is slow to find
    figure.savefig(pixels, format="png", dpi=PNG_DPI, metadata={"Software": None})
    figure.savefig(printed, format="pdf", metadata=_NO_PDF_METADATA)
    wide = figure.get_size_inches()[0] > (NARROW + WIDE) / 2
    svg, png, pdf = (file.getvalue() for file in (vector, pixels, printed))
    return Picture(slug, alt, svg, png, pdf, bool(wide))


def save(picture: Picture, folder: Path) -> None:
    """Write ``<slug>.svg``, ``<slug>.png`` and ``<slug>.pdf``. Raises StorageError."""
    contents = {".svg": picture.svg, ".png": picture.png, ".pdf": picture.pdf}
    for suffix, content in contents.items():
        with written_whole(folder / (picture.slug + suffix)) as temporary:
            temporary.write_bytes(content)
