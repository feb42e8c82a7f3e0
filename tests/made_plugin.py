"""The plug-in of tests/training/made_parts.py, whose kinds are known to who names it alone."""

import hashlib
from pathlib import Path

from cifarlab.config.family import allow_plugins
from cifarlab.config.plugins import Plugin, restore_plugin

_FILE = Path(__file__).parent / "training" / "made_parts.py"
MADE = Plugin(file=str(_FILE), sha256=hashlib.sha256(_FILE.read_bytes()).hexdigest())
restore_plugin(MADE, _FILE.read_bytes())
NAMED = {"plugins": [MADE.model_dump()]}  # of a recipe that takes kinds of it


def known(family):
    """All kinds of a family, made ones too, with their defaults."""
    with allow_plugins([MADE.sha256]):
        return [kind.model_validate({}) for kind in family.kinds().values()]
