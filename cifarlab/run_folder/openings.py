"""How often the test images of some data were opened, and how many recipes were judged on them.

Whoever chooses among recipes by their test accuracy chooses the images' luck, too: a test set wears
out. Each run writes its openings into its provenance, so that all runs of a folder can be counted.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import MAX_YAML_BYTES, read_text

_JUDGES = ("train", "evaluate")  # an audit opens the test split, too, and judges no recipe
_NAME = re.compile(r"^name: *(\S.*)$", re.MULTILINE)
_SEED = re.compile(r"^seed: *(\d{1,10}) *$", re.MULTILINE)


class RecipeText(NamedTuple):
    """What is read of recipe.yaml without parsing it, which takes 18 ms.

    ``key`` is the rest of the text: the same for all seeds of a recipe.
    """

    name: str
    seed: int
    key: str


def read_recipe_text(folder: RunFolder) -> RecipeText:
    """Return name and seed of a run's recipe, and the text without both.

    Raises:
        RunFolderError: the file can't be read, or its end is missing
    """
    try:
        text = read_text(folder.recipe_file, MAX_YAML_BYTES)
    except (OSError, UnicodeDecodeError) as error:
        raise RunFolderError(f"recipe.yaml can't be read: {error}", "restore it") from error
    name, seed = _NAME.search(text), _SEED.search(text)
    if name is None or seed is None or not re.search(r"^evaluation:", text, re.MULTILINE):
        raise RunFolderError("recipe.yaml is torn: name, seed or its end is missing", "restore it")
    key = _SEED.sub("", _NAME.sub("", text, count=1), count=1)
    return RecipeText(name[1].strip(" '\""), int(seed[1]), key)


def find_runs(root: Path) -> Iterator[Path]:
    """Yield all run folders at any depth under a folder, without a look into them."""
    for name, subfolders, files in os.walk(root):
        if "recipe.yaml" in files:
            subfolders.clear()
            yield Path(name)


def count_openings(
    runs: Iterable[Path], data: str, images: str | None = None, before: str = ""
) -> Counter[str]:
    """Count by recipe, seeds aside, how often the same test images were opened to judge it.

    Args:
        runs: run folders; those that can't be read are left out, and each counts once
        data: the fingerprint of the data
        images: the fingerprint of the test images; a run that does not say which it saw counts
        before: a time; later openings do not count; empty: all do
    """
    counts = Counter[str]()
    for path in {path.resolve() for path in runs}:
        with suppress(RunFolderError):
            provenance = (folder := RunFolder(path)).provenance()
            n = sum(
                opening.get("opener") in _JUDGES
                and not (before and str(opening.get("time", "")) >= before)
                for opening in provenance.get("test_openings", [])
            )
            if n and provenance.get("data", {}).get("fingerprint") == data:
                test = ((folder.result() or {}).get("test") or {}).get("fingerprint")
                if None in (images, test) or images == test:
                    counts[read_recipe_text(folder).key] += n
    return counts


def describe_wear(
    runs: Iterable[Path],
    data: str,
    own_runs: Iterable[Path],
    images: str | None = None,
    before: str = "",
) -> tuple[str, int]:
    """Return how many other recipes were judged on test images, in words and as a number.

    Args:
        runs: where others are counted, as in ``count_openings``
        data: the fingerprint of the data
        own_runs: runs of the recipes that are compared now
        images: the fingerprint of the test images, as in ``count_openings``
        before: the time at which a plan was written; empty without one
    """
    openings = count_openings(runs, data, images, before)
    for run in own_runs:
        openings.pop(read_recipe_text(RunFolder(run)).key, None)
    if not openings:
        return "", 0
    recipes = (
        "1 other recipe was" if len(openings) == 1 else f"{len(openings):,} other recipes were"
    )
    when = "before the plan was written" if before else "by the runs here"
    n_openings = openings.total()
    return (
        f"{recipes} judged on these test images {when} "
        f"({'1 opening' if n_openings == 1 else f'{n_openings:,} openings'}). As far as they were "
        "chosen by their results, a part of the best one's lead is the luck of these images: "
        "'cifarlab compare --by image' corrects p for other images."
    ), len(openings)
