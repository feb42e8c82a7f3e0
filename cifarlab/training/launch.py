"""What the words of ``cifarlab train`` ask for: which recipe, in which folder, new or going on."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, get_args

from cifarlab.config.duration import Duration
from cifarlab.config.plugins import approve_plugins, decisive_plugins
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.recipes.schema import Extension, Recipe
from cifarlab.recipes.text import apply_overrides, change, fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import latest_folder, new_folder
from cifarlab.system.errors import RecipeError, RunFolderError, UserError
from cifarlab.training.callbacks import WatchedConfig, name_callbacks
from cifarlab.training.extend import extended

CONTINUATIONS = get_args(Extension.model_fields["schedule"].annotation)


class Launch(NamedTuple):
    """What ``train`` takes; a run that is ``trained`` lacks nothing but its report."""

    recipe: Recipe
    folder: RunFolder
    resume: bool
    callbacks: WatchedConfig
    trained: bool = False


def launch(
    name: str,
    assignments: Sequence[str] = (),
    *,
    data: str | None = None,
    run: Path | None = None,
    resume: bool = False,
    extend: str | None = None,
    schedule: str | None = None,
    plugins: Sequence[str] = (),
    callbacks: Sequence[str] = (),
) -> Launch:
    """Resolve a command line. Raises UserError, RecipeError, PluginError or RunFolderError.

    Going on (``resume``, ``extend``) takes the recipe of the folder; settings given again must
    be those that it was begun with. ``plugins`` are files that this approves; ``callbacks`` kinds.
    """
    approved, options = approve_plugins(plugins), {} if data is None else {"data.source": data}
    if extend is not None and resume:
        what = "--resume goes on with an unfinished run, --extend with a finished one"
        raise UserError(what, "give one")
    if schedule is not None and extend is None:
        raise UserError(
            "--schedule says what the learning rate does during --extend, which is not given",
            "to train with another schedule, set schedule.kind=...",
        )

    def requested(begun: Recipe | None = None) -> Recipe:
        recipe = find(name, approved) if begun is None else begun
        recipe = recipe.add_plugins(decisive_plugins(approved))
        return apply_overrides(recipe, assignments, options)

    goes_on, trained = resume or extend is not None, False
    if goes_on:
        folder = RunFolder(run) if run else _latest(requested(), resume)
        words = [*(f"--plugin {plugin.file}" for plugin in approved), *assignments]
        words += [] if data is None else [f"--data {data}"]
        recipe = _begun_recipe(folder, name, words, requested)
        trained = resume and folder.is_finished and not folder.has_report
    else:
        recipe = requested()
        folder = RunFolder(run) if run else new_folder(recipe)
    if extend is not None:
        recipe, folder = extended(folder, _extension(extend, schedule))
    watched = name_callbacks(callbacks, (*recipe.plugins, *approved))
    return Launch(recipe, folder, goes_on, watched, trained)


def _latest(recipe: Recipe, resume: bool) -> RunFolder:
    """The newest finished run; to ``resume``, the newest unfinished one.

    Where there is none, the newest that was ended while its report was drawn. RunFolderError.
    """
    try:
        return latest_folder(recipe, is_finished=not resume)
    except RunFolderError:
        with suppress(RunFolderError):
            if resume and not (trained := latest_folder(recipe, is_finished=True)).has_report:
                return trained
        raise


def _extension(duration: str, schedule: str | None) -> Extension:
    if schedule not in CONTINUATIONS:
        raise RecipeError(
            f"--extend needs --schedule, one of {', '.join(CONTINUATIONS)}"
            + (f", not {schedule!r}" if schedule else ""),
            "hold: keep the last learning rate; restart: the schedule once more; "
            "stretch: as if the run had been planned this long",
        )
    try:
        return Extension(duration=Duration.parse(duration), schedule=schedule)
    except ValueError as error:
        raise RecipeError(f"--extend: {error}", "write e.g. --extend '10 epochs'") from error


def _begun_recipe(
    folder: RunFolder, name: str, words: list[str], requested: Callable[..., Recipe]
) -> Recipe:
    """The folder's recipe; what is named again must be of it: its name, and every setting given."""
    begun = folder.recipe()
    is_file = name not in (begun.name, *shipped_recipes())
    if name != begun.name and find(name).name != begun.name:
        raise RunFolderError(
            f"{folder.path} was begun with the recipe {begun.name}, not {name}",
            f"go on with: {folder.resume_command(begun.name)}",
        )
    # extensions are added by --extend, so a file does not have them
    extensions = begun.training.model_dump(mode="json")["extensions"]
    recipe = change(requested(None if is_file else begun), {"training.extensions": extensions})
    if fingerprint(recipe) != fingerprint(begun):
        words = [name, *words] if is_file else words
        raise RunFolderError(
            f"{folder.path} was begun with other settings than {' '.join(words)}",
            "leave them out to go on, or start a new run in another folder",
        )
    return begun
