"""What a run or a study gives in Python: its figures by name, and the scores of a split."""

from collections.abc import Callable
from html import escape
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from cifarlab.system.formatting import percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Plots:
    """Figures by name, each a function that returns it, or None where there is nothing to show.

    ``figures`` says where they are listed, which is imported when it is first looked at.
    """

    def __init__(self, figures: str, subject: Callable[[], Any]) -> None:
        self._figures, self._subject = figures, subject

    def __dir__(self) -> list[str]:
        return list(resolve_name(self._figures))

    def __getattr__(self, name: str) -> "Callable[[], Figure | None]":
        if name.startswith("_") or name not in (figures := resolve_name(self._figures)):
            raise AttributeError(f"there is no figure {name!r}")

        def show() -> "Figure | None":
            from cifarlab.plots.draw import draw

            plot = figures[name][0](self._subject())
            return draw(plot) if plot else None

        show.__doc__ = f"{figures[name][1]}."
        return show


class Evaluation(SimpleNamespace):
    """The scores of a ``split`` of the ``data``, by the names of result.json: ``accuracy``, ..."""

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each class, with images, correct ones, accuracy and its interval."""
        import pandas as pd

        return pd.DataFrame(self.per_class).set_index("class")

    def __repr__(self) -> str:
        from cifarlab.training.display import format_score

        return f"<Evaluation: {format_score(self.split, vars(self), self.data)}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>{self.frame.to_html(float_format=percent)}"
