"""How often the test images of some data were opened, and how many recipes were judged on them.

Whoever chooses among recipes by their test accuracy chooses the images' luck, too: a test set wears
out. Each run writes its openings into its provenance, so that all runs of a folder can be counted;
those of runs that were removed since are in a file of their own (removals.py).
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import MAX_YAML_BYTES, read_text

# an audit opens the test split, too, and judges no recipe
_JUDGES = ("train", "evaluate", "export")
_NAME = re.compile(r"^name: *(\S.*)$", re.MULTILINE)
_SEED = re.compile(r"^seed: *(\d{1,10}) *$", re.MULTILINE)


class RecipeText(NamedTuple):
    """What is read of recipe.yaml without parsing it, which takes 18 ms.

    ``key`` is the rest of the text: the same for all seeds of a recipe.
    """

    name: str
    seed: int
    key: str

    @property
    def digest(self) -> str:
        """Return what stands for the key where that is too long."""
        return hashlib.sha256(self.key.encode()).hexdigest()[:32]


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


class Judgements(NamedTuple):
    """How a run's recipe was judged by test images: ``openings``, each with time and command.

    ``run`` is its folder, ``digest`` that of its recipe, ``data`` and ``images`` are fingerprints
    of its data and test images, ``start`` is when it first started, which sets it apart from a
    later run in that folder. What the run's other files no longer say is None.
    """

    run: Path
    recipe: str | None
    seed: int | None
    digest: str | None
    data: str | None
    images: str | None
    start: str
    openings: list[dict[str, Any]]


def list_judgements(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the openings of the test split in a run's provenance that judged its recipe."""
    openings = provenance.get("test_openings", [])
    return [opening for opening in openings if opening.get("opener") in _JUDGES]


def find_start(provenance: dict[str, Any]) -> str:
    """Return when a run first started (ISO 8601, UTC), from its provenance; empty if unknown."""
    starts = provenance.get("starts") or [{}]
    return str(starts[0].get("time", ""))


def read_judgements(folder: RunFolder) -> Judgements:
    """Return how a run's recipe was judged by test images.

    Raises:
        RunFolderError: its provenance can't be read
    """
    provenance, text, result = folder.provenance(), None, None
    with suppress(RunFolderError):
        text = read_recipe_text(folder)
    with suppress(RunFolderError):
        result = folder.result()
    return Judgements(
        folder.path.resolve(),
        recipe=text.name if text else None,
        seed=text.seed if text else None,
        digest=text.digest if text else None,
        data=provenance.get("data", {}).get("fingerprint"),
        images=((result or {}).get("test") or {}).get("fingerprint"),
        start=find_start(provenance),
        openings=list_judgements(provenance),
    )


def count_openings(
    runs: Iterable[Path],
    data: str,
    images: str | None = None,
    before: str = "",
    removals: Iterable[Judgements] = (),
) -> Counter[str]:
    """Count by recipe, seeds aside, how often the same test images were opened to judge it.

    Args:
        runs: run folders; those whose provenance can't be read are left out; each counts once
        data: the fingerprint of the data
        images: the fingerprint of the test images; a run that does not say which it saw counts
        before: a time; later openings do not count; empty: all do
        removals: those of runs that were removed (removals.py); each counts once

    Returns:
        The number by the recipe's digest; a run that has lost its recipe stands for one.
    """
    # by folder and start: a run whose removal was written down may still be there, after a kill
    judgements = {(removed.run, removed.start): removed for removed in removals}
    for path in {path.resolve() for path in runs}:
        with suppress(RunFolderError):
            folder = RunFolder(path)
            if list_judgements(folder.provenance()):  # most runs of a search have none
                run = read_judgements(folder)
                judgements[run.run, run.start] = run
    counts = Counter[str]()
    for run in judgements.values():
        is_same = run.data == data and (None in (images, run.images) or run.images == images)
        times = [str(opening.get("time", "")) for opening in run.openings]
        if is_same and (n := sum(not before or time < before for time in times)):
            counts[run.digest or str(run.run)] += n
    return counts


def describe_wear(
    runs: Iterable[Path],
    data: str,
    own_runs: Iterable[Path],
    images: str | None = None,
    before: str = "",
    removals: Iterable[Judgements] = (),
) -> tuple[str, int]:
    """Return how many other recipes were judged on test images, in words and as a number.

    Args:
        runs: where others are counted, as in ``count_openings``
        data: the fingerprint of the data
        own_runs: runs of the recipes that are compared now
        images: the fingerprint of the test images, as in ``count_openings``
        before: the time at which a plan was written; empty without one
        removals: as in ``count_openings``
    """
    openings = count_openings(runs, data, images, before, removals)
    for own_run in own_runs:
        openings.pop(read_recipe_text(RunFolder(own_run)).digest, None)
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
