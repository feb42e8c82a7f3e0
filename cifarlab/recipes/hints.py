"""Hints for words of other tools: whoever types theirs is shown our key."""

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
    """Return our key for each word of other tools, or key=value where the word implies a value.

    For the topic ``elsewhere``, of words that no recipe has a key for, return the hint.
    """
    text = Path(__file__).with_name("synonyms.yaml").read_text(encoding="utf-8")
    return {
        word: key for key, words in yaml.safe_load(text)[topic].items() for word in words.split()
    }


def advice(word: str, value: Any = None) -> str | None:
    """Return what to write for another tool's option or setting, None where nothing is like it.

    ``word`` is a name or a dotted path, also one of ours or the last part of one; ``value`` is the
    setting's value, None where that is not known.
    """
    last = _last(word).lower().replace("-", "_")
    if last in synonyms("elsewhere"):
        return synonyms("elsewhere")[last]
    paths = [key.path for key in keys()]
    matches = [path for path in paths if word == path or ("." not in word and _last(path) == last)]
    key = synonyms().get(last) or min(matches, key=lambda path: path.count("."), default=None)
    return key and f"write {_assignment(key, value, last)}"


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def key_hint(path: str, value: Any, default: str = "") -> str:
    """Return what to do about a key that no recipe has.

    Args:
        path: the key, dotted
        value: what it was set to
        default: the hint where no word of ours or of other tools is like it
    """
    tags = (key.kind.rpartition(", ")[2] for key in keys() if key.path == path)
    if kinds := list(dict.fromkeys(tags)):
        return f"it is a key of kind {', '.join(kinds)}; {default or LIST_KEYS}"
    return advice(path, value) or default or suggest(path, [key.path for key in keys()])


def suggest(word: Any, choices: list[str]) -> str:
    """Suggest the nearest of the ``choices``, and all of them where they are few."""
    text = word if isinstance(word, str) and len(word) < 200 else ""
    match = difflib.get_close_matches(text, choices, n=1, cutoff=0.5)
    start = f"did you mean {match[0]!r}? " if match else ""
    if len(choices) <= 13:
        return f"{start}Allowed: {', '.join(choices)}"
    return f"{start}{LIST_KEYS}"


def _assignment(key: str, value: Any, word: str) -> str:
    """Return ``key=value`` as it can be typed; a number of epochs or steps gets its unit."""
    if "=" in key:
        key, _, value = key.partition("=")
        return f"{key}={shlex.quote(value)}"
    if isinstance(value, list | dict) or value is None:
        return f"{key}='30 epochs'" if key == "training.duration" else f"{key}=..."
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if key in _IN_EPOCHS and text.replace(".", "", 1).isdecimal():
        text += " steps" if "step" in word or "iter" in word else " epochs"
    return f"{key}={shlex.quote(text)}"
