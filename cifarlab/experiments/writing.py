"""The options that studies and searches have in common, and the dash in their tables."""

from collections.abc import Sequence

from cifarlab.plots.spec import require_formats
from cifarlab.system.errors import UserError

NOTHING = "-"


def require_valid_options(formats: Sequence[str], **counts: int | None) -> None:
    """Refuse an unknown figure format and a count below 1.

    Args:
        formats: figure formats, such as ``svg``
        **counts: counts by the option that sets them; None where it was not given

    Raises:
        UserError: a format is unknown or a count is below 1
    """
    require_formats(formats)
    for option, count in counts.items():
        if count is not None and count < 1:
            name = option.replace("_", "-")
            raise UserError(f"--{name} {count}: that is no number of runs", "take 1 or more")
