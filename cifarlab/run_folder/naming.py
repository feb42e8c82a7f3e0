"""The folders of runs where no path is given: their names, the next free one, the latest."""

import re
from contextlib import suppress
from itertools import count
from pathlib import Path

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint, fingerprint_row
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.system.errors import PluginError, RunFolderError


def new_folder(recipe: Recipe, runs: Path = RUNS) -> RunFolder:
    """Return the first free folder for this recipe, e.g. ``runs/fudan-resnet10-s0-bccd0e3c-2``."""
    folders = (RunFolder(runs / add_number(_name(recipe), number)) for number in count(1))
    return next(folder for folder in folders if folder.is_vacant)


def latest_folder(recipe: Recipe, *, is_finished: bool, runs: Path = RUNS) -> RunFolder:
    """Return the newest finished or unfinished run of a recipe.

    Args:
        recipe: the run's
        is_finished: whether finished or unfinished runs are looked for
        runs: the folder of the runs

    Raises:
        RunFolderError: there is no such run
    """
    name = re.compile(rf"{re.escape(_name(recipe))}(?:-(\d+))?")
    paths = {int(m[1] or 1): path for path in runs.glob("*") if (m := name.fullmatch(path.name))}
    for number in sorted(paths, reverse=True):
        folder = RunFolder(paths[number])
        if folder.exists and folder.is_finished == is_finished:
            return folder
    state = "finished" if is_finished else "unfinished"
    raise RunFolderError(
        f"there is no {state} run of {recipe.name} with these settings under {runs}",
        "name its folder with --run",
    )


def finished_runs(runs: Path = RUNS, *, ended_early: bool = False) -> dict[str, list[RunFolder]]:
    """Return all finished runs at any depth under ``runs`` by their recipe's fingerprint.

    Those of one fingerprint are in the order of their paths. ``ended_early``: those instead that a
    time limit or a search ended. Runs that can't be read are left out.
    """
    runs_by_fingerprint: dict[str, list[RunFolder]] = {}
    for file in sorted(runs.rglob("result.json")):
        folder = RunFolder(file.parent)
        with suppress(RunFolderError):
            result = folder.require().result()
            if result and bool(describe_early_end(result)) == ended_early:
                runs_by_fingerprint.setdefault(str(result.get("fingerprint")), []).append(folder)
    runs_by_fingerprint.pop("None", None)
    return runs_by_fingerprint


def runs_of_row(recipe: Recipe, runs: Path = RUNS) -> list[RunFolder]:
    """Return a recipe's finished runs of all seeds under ``runs``, those that ended early last.

    Runs whose plug-ins may not be loaded are left out.
    """
    return [
        folder
        for is_early in (False, True)
        for folders in finished_runs(runs, ended_early=is_early).values()
        if _read_row_fingerprint(folders[0]) == fingerprint_row(recipe)
        for folder in folders
    ]


def _read_row_fingerprint(folder: RunFolder) -> str | None:
    with suppress(PluginError):
        return fingerprint_row(folder.recipe())
    return None


def folder_name(name: str, scale: float, data: str | None, first_seed: int | None = None) -> str:
    """Return the name of a study's or search's folder.

    Args:
        name: the study's or search's
        scale: fraction of the images and of the epochs that is trained on
        data: a source that replaces the recipes' own, or None
        first_seed: the first seed where another one than the study's was asked for
    """
    name = name.replace("/", "-")
    if first_seed is not None:
        name += f"-seed-{first_seed}"
    if data is not None:
        name += "-on-" + (re.sub(r"[^\w.+-]+", "-", Path(data).name)[:60].strip("-") or "data")
    return name if scale == 1 else f"{name}-scale-{scale:g}"


def _name(recipe: Recipe) -> str:
    return f"{recipe.name.replace('/', '-')}-s{recipe.seed}-{fingerprint(recipe)[:8]}"


def add_number(name: str, number: int) -> str:
    """Return the ``number``-th name of those that begin alike: ``a``, ``a-2``, ``a-3``, ..."""
    return name if number == 1 else f"{name}-{number}"
