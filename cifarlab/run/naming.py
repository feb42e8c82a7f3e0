"""Where a run goes when nobody says where, and how it is found again."""

from pathlib import Path

from cifarlab.errors import RunFolderError
from cifarlab.recipe import Recipe, fingerprint
from cifarlab.run.folder import RunFolder

RUNS = Path("runs")


def new_folder(recipe: Recipe, runs: Path = RUNS) -> RunFolder:
    """The first free folder for this recipe, e.g. ``runs/fudan-resnet10-s0-bccd0e3c-2``."""
    number = 1
    while not (folder := _numbered(recipe, runs, number)).vacant:
        number += 1
    return folder


def latest_folder(recipe: Recipe, *, finished: bool, runs: Path = RUNS) -> RunFolder:
    """The newest finished or unfinished run of this recipe. Raises RunFolderError."""
    found = None
    number = 1
    while (folder := _numbered(recipe, runs, number)).exists:
        found = folder if folder.finished == finished else found
        number += 1
    if found is None:
        state = "finished" if finished else "unfinished"
        raise RunFolderError(
            f"there is no {state} run of {recipe.name} with these settings under {runs}",
            "name its folder with --run",
        )
    return found


def _numbered(recipe: Recipe, runs: Path, number: int) -> RunFolder:
    name = f"{recipe.name.replace('/', '-')}-s{recipe.seed}-{fingerprint(recipe)[:8]}"
    return RunFolder(runs / (name if number == 1 else f"{name}-{number}"))
