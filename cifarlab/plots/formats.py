"""The formats that figures are drawn in; knows nothing of how."""

from collections.abc import Sequence

from cifarlab.system.errors import UserError

FORMATS = ("svg", "png", "pdf")


def require_formats(formats: Sequence[str]) -> None:
    """Raise UserError for a format that there is not."""
    if unknown := set(formats).difference(FORMATS):
        raise UserError(
            f"figures can't be drawn as {', '.join(sorted(map(repr, unknown)))}",
            f"the formats are {', '.join(FORMATS)}; several with commas between",
        )
