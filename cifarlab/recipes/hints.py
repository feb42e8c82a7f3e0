"""What other tools call our settings: whoever types their words is shown ours."""

import difflib
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cifarlab.recipes.keys import keys

LIST_KEYS = "'cifarlab recipes keys' lists every setting"
_IN_EPOCHS = {"training.duration", "schedule.warmup"}


@cache
def synonyms(topic: str = "settings") -> dict[str, str]:
    """Return each word of other tools with our key, or key=value where the word says it, too.

    For the topic ``elsewhere``, what no recipe says, it is what to tell.
    """
    text = Path(__file__).with_name("synonyms.yaml").read_text(encoding="utf-8")
    return {
        word: key for key, words in yaml.safe_load(text)[topic].items() for word in words.split()
    }


def advice(word: str, value: Any = None) -> str | None:
    """Return what to write for another tool's option or setting, None where nothing is like it.

    ``word`` is a name or a dotted path, also one of ours or the last part of one; ``value`` is what
    it was to be set to, None where that is not known.
    """
    last = _last(word).lower().replace("-", "_")
    if last in synonyms("elsewhere"):
        return synonyms("elsewhere")[last]
    paths = [key.path for key in keys()]
    same = [path for path in paths if word == path or ("." not in word and _last(path) == last)]
    key = synonyms().get(last) or min(same, key=lambda path: path.count("."), default=None)
    return key and f"write {_assignment(key, value, last)}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def key_hint(path: str, value: Any, usual: str = "") -> str:
    """Return what to do about a path that a recipe has not; ``usual`` where nothing is like it."""
    tags = (key.kind.rpartition(", ")[2] for key in keys() if key.path == path)
    if kinds := list(dict.fromkeys(tags)):
        return f"it is a key of kind {', '.join(kinds)}; {usual or LIST_KEYS}"
    return advice(path, value) or usual or nearest(path, [key.path for key in keys()])


def nearest(word: Any, known: list[str]) -> str:
    """Return the nearest of the ``known`` words, and all of them where they are few."""
    text = word if isinstance(word, str) and len(word) < 200 else ""
    match = difflib.get_close_matches(text, known, n=1, cutoff=0.5)
    start = f"did you mean {match[0]!r}? " if match else ""
    if len(known) <= 12:
        return f"{start}Allowed: {', '.join(known)}"
    return f"{start}{LIST_KEYS}"


def _assignment(key: str, value: Any, word: str) -> str:
    """``key=value`` as it can be typed; a number of epochs or steps gets its unit."""
    if "=" in key:
        key, _, value = key.partition("=")
        return f"{key}={shlex.quote(value)}"
    if isinstance(value, list | dict) or value is None:
        return f"{key}='30 epochs'" if key == "training.duration" else f"{key}=..."
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if key in _IN_EPOCHS and text.replace(".", "", 1).isdecimal():
        text += " steps" if "step" in word or "iter" in word else " epochs"
    return f"{key}={shlex.quote(text)}"
