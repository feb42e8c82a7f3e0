"""What the words of ``cifarlab train`` ask for: which recipe, in which folder, new or going on."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cifarlab.errors import RecipeError, RunFolderError
from cifarlab.recipe import Duration, Recipe, fingerprint, overridden
from cifarlab.recipe.schema import Extension
from cifarlab.recipes import find
from cifarlab.run import RunFolder
from cifarlab.run.naming import latest_folder, new_folder
from cifarlab.train.extend import extended

CONTINUATIONS = ("hold", "restart", "stretch")


class Launch(NamedTuple):
    """What ``train`` takes."""

    recipe: Recipe
    folder: RunFolder
    resume: bool


def launch(
    name: str,
    assignments: Sequence[str] = (),
    *,
    run: Path | None = None,
    resume: bool = False,
    extend: str | None = None,
    schedule: str | None = None,
) -> Launch:
    """Resolve a command line. Raises RecipeError or RunFolderError.

    Going on (``resume``, ``extend``) takes the recipe of the folder; settings given again must
    be those that it was begun with.
    """
    if extend is None and not resume:
        asked = overridden(find(name), assignments)
        return Launch(asked, RunFolder(run) if run else new_folder(asked), False)
    begun = (
        RunFolder(run)
        if run
        else latest_folder(overridden(find(name), assignments), finished=extend is not None)
    )
    _require_same(name, assignments, begun)
    if extend is None:
        return Launch(begun.recipe(), begun, True)
    recipe, folder = extended(begun, _extension(extend, schedule))
    return Launch(recipe, folder, True)


def _extension(duration: str, schedule: str | None) -> Extension:
    if schedule not in CONTINUATIONS:
        raise RecipeError(
            f"--extend needs --schedule, one of {', '.join(CONTINUATIONS)}"
            + (f", not {schedule!r}" if schedule else ""),
            "hold: keep the last rate; restart: the schedule once more; "
            "stretch: as if the run had been planned this long",
        )
    try:
        return Extension(duration=Duration.parse(duration), schedule=schedule)
    except ValueError as error:
        raise RecipeError(f"--extend: {error}", "write e.g. --extend '10 epochs'") from error


def _require_same(name: str, assignments: Sequence[str], folder: RunFolder) -> None:
    """The recipe named again must be the folder's, and so must every setting given again."""
    begun = folder.recipe()
    if name != begun.name and find(name).name != begun.name:
        raise RunFolderError(
            f"{folder.path} was begun with the recipe {begun.name}, not {name}",
            f"go on with: {folder.resume_command(begun.name)}",
        )
    if fingerprint(overridden(begun, assignments)) != fingerprint(begun):
        raise RunFolderError(
            f"{folder.path} was begun with other settings than {' '.join(assignments)}",
            "leave them out to go on, or start a new run in another folder",
        )
