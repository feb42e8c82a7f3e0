"""From a command line of ``cifarlab train`` to a request: recipe, folder, new or going on."""

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
from cifarlab.training.callbacks import CallbacksConfig, name_callbacks
from cifarlab.training.extend import extend_run
from cifarlab.training.run import Resume

CONTINUATIONS = get_args(Extension.model_fields["schedule"].annotation)


class TrainRequest(NamedTuple):
    """What ``train`` is to do; with ``report_only`` the run lacks nothing but its report."""

    recipe: Recipe
    folder: RunFolder
    resume: Resume
    callbacks: CallbacksConfig
    report_only: bool = False


def resolve_request(
    name: str,
    assignments: Sequence[str] = (),
    *,
    data: str | None = None,
    run: Path | None = None,
    resume: bool = False,
    extend: str | None = None,
    schedule: str | None = None,
    start: str = "last",
    plugins: Sequence[str] = (),
    callbacks: Sequence[str] = (),
) -> TrainRequest:
    """Return what a command line asks for.

    Args:
        name: a shipped recipe, or a recipe file
        assignments: settings, each ``key=value``
        data: short for the setting ``data.source``
        run: the run folder; None: a new one under runs/, or the newest that fits
        resume: go on with an unfinished run, by its recipe; settings given again must be its own
        extend: by how much to train a finished run longer, e.g. ``10 epochs``; as with ``resume``.
        schedule: what the learning rate does meanwhile, one of CONTINUATIONS
        start: the epoch that ``resume`` or ``extend`` goes on from
        plugins: files or entry points, which this approves
        callbacks: kinds of callbacks, each as ``KIND`` or ``KIND:key=value,...``

    Raises:
        UserError: options contradict each other
        RecipeError: there is no such recipe, or a setting is wrong
        PluginError: a plug-in can't be loaded
        MissingExtraError: a callback needs a package that is not installed
        RunFolderError: no folder fits, or it was begun with other settings
    """
    files, options = approve_plugins(plugins), {} if data is None else {"data.source": data}
    _refuse_contradictions(resume, extend, schedule, start)

    def override(base: Recipe | None = None) -> Recipe:
        recipe = find(name, files) if base is None else base
        recipe = recipe.add_plugins(decisive_plugins(files))
        return apply_overrides(recipe, assignments, options)

    continues, report_only = resume or extend is not None, False
    if continues:
        folder = RunFolder(run) if run else _find_latest(override(), resume)
        words = [*(f"--plugin {plugin.file}" for plugin in files), *assignments]
        words += [] if data is None else [f"--data {data}"]
        recipe = _check_recipe(folder, name, words, override)
        report_only = resume and folder.is_finished and not folder.has_report
    else:
        recipe = override()
        folder = RunFolder(run) if run else new_folder(recipe)
    if extend is not None:
        recipe, folder = extend_run(folder, _parse_extension(extend, schedule, start))
    configs = name_callbacks(callbacks, (*recipe.plugins, *files))
    goes_on: Resume = "best" if resume and start == "best" else continues
    return TrainRequest(recipe, folder, goes_on, configs, report_only)


def _refuse_contradictions(
    resume: bool, extend: str | None, schedule: str | None, start: str
) -> None:
    """Raise UserError for options that contradict each other."""
    if extend is not None and resume:
        what = "--resume goes on with an unfinished run, --extend with a finished one"
        raise UserError(what, "give one")
    if schedule is not None and extend is None:
        what = "--schedule says what the learning rate does during --extend, which is not given"
        raise UserError(what, "to train with another schedule, set schedule.kind=...")
    if start != "last" and (start != "best" or not (resume or extend)):
        what = f"--start {start}: it is the epoch that --resume or --extend goes on from"
        raise UserError(what, "take last or best, with one of these")


def _find_latest(recipe: Recipe, resume: bool) -> RunFolder:
    """Return the newest finished run; to ``resume``, the newest unfinished one.

    Where there is none to resume, return the newest run if it has no report: it was killed while
    the report was drawn. Raises RunFolderError.
    """
    try:
        return latest_folder(recipe, is_finished=not resume)
    except RunFolderError:
        with suppress(RunFolderError):
            if resume and not (folder := latest_folder(recipe, is_finished=True)).has_report:
                return folder
        raise


def _parse_extension(duration: str, schedule: str | None, start: str) -> Extension:
    if schedule not in CONTINUATIONS:
        raise RecipeError(
            f"--extend needs --schedule, one of {', '.join(CONTINUATIONS)}"
            + (f", not {schedule!r}" if schedule else ""),
            "hold: keep the last learning rate; restart: the schedule once more; "
            "stretch: as if the run had been planned this long",
        )
    try:
        return Extension(duration=Duration.parse(duration), schedule=schedule, start=start)
    except ValueError as error:
        raise RecipeError(f"--extend: {error}", "write e.g. --extend '10 epochs'") from error


def _check_recipe(
    folder: RunFolder, name: str, words: list[str], override: Callable[..., Recipe]
) -> Recipe:
    """Return the folder's recipe; its name and all settings that are given again must fit it."""
    begun = folder.recipe()
    is_file = name not in (begun.name, *shipped_recipes())
    if name != begun.name and find(name).name != begun.name:
        what = f"{folder.path} was begun with the recipe {begun.name}, not {name}"
        raise RunFolderError(what, f"go on with: {folder.resume_command(begun.name)}")
    # extensions are added by --extend, so a file does not have them
    extensions = begun.training.model_dump(mode="json")["extensions"]
    recipe = change(override(None if is_file else begun), {"training.extensions": extensions})
    if fingerprint(recipe) != fingerprint(begun):
        words = [name, *words] if is_file else words
        what = f"{folder.path} was begun with other settings than {' '.join(words)}"
        raise RunFolderError(what, "leave them out to go on, or start a new run in another folder")
    return begun
