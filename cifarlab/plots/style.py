"""The look of all figures that are drawn as files: fonts, formats, and the bytes of a figure."""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib import font_manager
from matplotlib import style as matplotlib_style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cifarlab.plots.spec import FORMATS, NARROW, WIDE
from cifarlab.system.files import disk_errors, write_bytes

PNG_DPI = 200

_RC = Path(__file__).with_name("figures.mplstyle")
# DejaVu comes with Matplotlib; the others only help where a class name needs their script.
_FALLBACKS = ("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Noto Sans Devanagari")
# Arguments of savefig by format: without dates and versions, so that files can be compared.
_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Creator": None, "Date": None, "Format": None, "Type": None}},
    "png": {"metadata": {"Software": None}, "dpi": PNG_DPI},
    "pdf": {"metadata": {"Creator": None, "Producer": None, "CreationDate": None}},
}


class Picture(NamedTuple):
    """A rendered figure: ``slug`` is its file name, ``alt`` says it in words.

    ``files`` are its bytes by format; ``svg`` is always there.
    """

    slug: str
    alt: str
    files: dict[str, bytes]
    wide: bool

    @property
    def svg(self) -> bytes:
        """The bytes of the SVG."""
        return self.files["svg"]


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and render meanwhile in the style of this module, not of the user's matplotlibrc."""
    installed = set(font_manager.get_font_names())
    families = ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]
    with (
        warnings.catch_warnings(),
        matplotlib_style.context(["default", _RC, {"font.family": families}]),
    ):
        # A glyph that no font has is drawn as a box; the page's text still shows it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, with Matplotlib's constrained layout."""
    return Figure(figsize=(width, height), layout="constrained")


def draw_grid(axes: Axes, grid: str = "y") -> None:
    """Draw a light grid along one direction, or ``both``."""
    axes.grid(True, axis=grid)  # type: ignore[arg-type]


def render(figure: Figure, slug: str, alt: str, formats: Sequence[str] = ("svg",)) -> Picture:
    """Return a figure's files as bytes, the same for the same figure. Call inside ``figure_style``.

    Args:
        figure: what to render
        slug: the name of its files
        alt: what it shows, in words
        formats: formats besides SVG; each takes about as long again
    """
    files = {}
    for name in dict.fromkeys(("svg", *formats)):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=name, **_SAVE_OPTIONS[name])
        figure.set_layout_engine("none")  # the layout is slow to compute: other formats reuse it
        files[name] = buffer.getvalue()
    wide = figure.get_size_inches()[0] > (NARROW + WIDE) / 2
    return Picture(slug, alt, files, bool(wide))


def save(picture: Picture, folder: Path) -> list[Path]:
    """Write ``<slug>.svg`` and the picture's other formats to ``folder``; return the files.

    Where the SVG changes, the files of formats that were not drawn now are outdated: they are
    deleted.

    Raises:
        StorageError: the folder can't be written
    """
    paths = {name: folder / f"{picture.slug}.{name}" for name in FORMATS}
    with disk_errors(folder):
        previous = paths["svg"].read_bytes() if paths["svg"].is_file() else None
        for name, path in paths.items():
            if name in picture.files:
                write_bytes(path, picture.files[name])
            elif previous != picture.svg:
                path.unlink(missing_ok=True)
    return [paths[name] for name in picture.files]
