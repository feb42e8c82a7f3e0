"""The figures that ``cifarlab explain`` left in a run folder."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import read_bytes, read_json

INDEX = "explained.json"
# in the order of a page
KINDS = ("maps", "mistakes", "features", "filters", "sanity_check", "architecture")


@dataclass(frozen=True)
class CaptionedFigure:
    """One figure, of the weights of an ``epoch``."""

    slug: str
    caption: str
    svg: bytes
    wide: bool
    epoch: int

    @property
    def alt(self) -> str:
        """The figure in words, up to the first details."""
        return self.caption.partition(":")[0]


def read_index(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the weights that a folder's figures are of, and the figures; empty where damaged."""
    with suppress(RunFolderError, ValueError, KeyError, TypeError):
        weights = read_json(directory / INDEX, "explain the run again") or {}
        return weights, dict(weights.pop("figures"))
    return {}, {}


def read_explanations(folder: RunFolder) -> list[CaptionedFigure]:
    """Return the figures that can be read; none where the index is damaged or another program's."""
    figures: list[CaptionedFigure] = []
    weights, entries = read_index(folder.explained)
    for kind in KINDS:
        with suppress(OSError, KeyError, TypeError, ValueError):
            caption, wide = str(entries[kind]["caption"]), bool(entries[kind]["wide"])
            svg = read_bytes(folder.explained / f"{kind}.svg")
            figures.append(CaptionedFigure(kind, caption, svg, wide, int(weights["epoch"])))
    return figures
