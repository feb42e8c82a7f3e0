"""The recipe: what a run is (schema), for how long (duration), read and changed as text (text)."""

from cifarlab.recipe.duration import Duration
from cifarlab.recipe.keys import Key, keys
from cifarlab.recipe.schema import Recipe
from cifarlab.recipe.text import build, change, fingerprint, from_yaml, overridden, to_yaml

__all__ = [
    "Duration",
    "Key",
    "Recipe",
    "build",
    "change",
    "fingerprint",
    "from_yaml",
    "keys",
    "overridden",
    "to_yaml",
]
