"""How often the test images of some data were opened, and how many recipes were judged on them.

Whoever chooses among recipes by their test accuracy chooses the images' luck, too: a test set wears
out. Each run writes its openings into its provenance, so that all runs of a folder can be counted;
those of runs that were removed since are in a file of their own (removals.py).
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import MAX_YAML_BYTES, read_text

_JUDGES = ("train", "evaluate")  # an audit opens the test split, too, and judges no recipe
_NAME = re.compile(r"^name: *(\S.*)$", re.MULTILINE)
_SEED = re.compile(r"^seed: *(\d{1,10}) *$", re.MULTILINE)


class Openings(NamedTuple):
    """How often test images were opened to judge runs; digests of the recipes, seeds aside."""

    n_openings: int
    recipes: frozenset[str]


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

    ``run`` is its folder, ``digest`` that of its recipe, ``data`` the fingerprint of its data and
    ``start`` when it first started, which sets it apart from a later run in that folder.
    """

    run: Path
    recipe: str
    seed: int
    digest: str
    data: str | None
    start: str
    openings: list[dict[str, Any]]


def list_judgements(provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the openings of the test split in a run's provenance that judged its recipe."""
    openings = provenance.get("test_openings", [])
    return [opening for opening in openings if opening.get("opener") in _JUDGES]


def read_judgements(folder: RunFolder) -> Judgements:
    """Return how a run's recipe was judged by test images.

    Raises:
        RunFolderError: provenance or recipe can't be read
    """
    provenance, text = folder.provenance(), read_recipe_text(folder)
    starts = provenance.get("starts") or [{}]
    return Judgements(
        folder.path.resolve(),
        text.name,
        text.seed,
        text.digest,
        data=provenance.get("data", {}).get("fingerprint"),
        start=str(starts[0].get("time", "")),
        openings=list_judgements(provenance),
    )


def count_openings(
    runs: Iterable[Path], data: str, removals: Iterable[Judgements] = ()
) -> Openings:
    """Count how often the test images of the data with this fingerprint were opened.

    Args:
        runs: run folders; those that can't be read are left out, and each counts once
        data: the fingerprint of the data
        removals: those of runs that were removed (removals.py); each counts once
    """
    # by folder and start: a run whose removal was written down may still be there, after a kill
    judgements = {(removed.run, removed.start): removed for removed in removals}
    for path in {path.resolve() for path in runs}:
        with suppress(RunFolderError):
            folder = RunFolder(path)
            if list_judgements(folder.provenance()):  # most runs of a search have none
                run = read_judgements(folder)
                judgements[run.run, run.start] = run
    matches = [run for run in judgements.values() if run.data == data]
    n_openings = sum(len(run.openings) for run in matches)
    return Openings(n_openings, frozenset(run.digest for run in matches))
