"""How every figure looks in a file, and how it becomes bytes: one place for fonts and files."""

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
# By format, how a file is saved so that the same figure gives the same bytes.
_SAVED: dict[str, dict[str, Any]] = {
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
def styled() -> Iterator[None]:
    """Everything drawn or rendered inside follows this module, not the user's matplotlibrc."""
    installed = set(font_manager.get_font_names())
    families = ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]
    with (
        warnings.catch_warnings(),
        matplotlib_style.context(["default", _RC, {"font.family": families}]),
    ):
        # A glyph that no font has is drawn as a box; the page's text still shows it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def sheet(width: float, height: float) -> Figure:
    """Return an empty figure of that size in inches, which lays its parts out by itself."""
    return Figure(figsize=(width, height), layout="constrained")


def tidy(axes: Axes, grid: str = "y") -> None:
    """Draw a light grid along one direction, or ``both``."""
    axes.grid(True, axis=grid)  # type: ignore[arg-type]


def render(figure: Figure, slug: str, alt: str, formats: Sequence[str] = ("svg",)) -> Picture:
    """Return a figure's files as bytes, the same for the same figure. Call inside ``styled``.

    An SVG is always among them. Each other format takes about as long again.
    """
    files = {}
    for name in dict.fromkeys(("svg", *formats)):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=name, **_SAVED[name])
        figure.set_layout_engine("none")  # all files keep the one layout, which is slow to find
        files[name] = buffer.getvalue()
    wide = figure.get_size_inches()[0] > (NARROW + WIDE) / 2
    return Picture(slug, alt, files, bool(wide))


def save(picture: Picture, folder: Path) -> None:
    """Write ``<slug>.svg`` and the picture's other formats. Raises StorageError.

    Where the SVG changes, files of a format that was not drawn now are removed: they are of an
    earlier state of what is shown.
    """
    paths = {name: folder / f"{picture.slug}.{name}" for name in FORMATS}
    with disk_errors(folder):
        previous = paths["svg"].read_bytes() if paths["svg"].is_file() else None
        for name, path in paths.items():
            if name in picture.files:
                write_bytes(path, picture.files[name])
            elif previous != picture.svg:
                path.unlink(missing_ok=True)
