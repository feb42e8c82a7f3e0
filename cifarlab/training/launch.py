"""What the words of ``cifarlab train`` ask for: which recipe, in which folder, new or going on."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, get_args

from cifarlab.config.duration import Duration
from cifarlab.config.plugins import Plugin, approve_plugins, decisive_plugins
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


class TrainRequest(NamedTuple):
    """The recipe as the command line names it: a name or file, and what is changed."""

    name: str
    assignments: Sequence[str]
    data: str | None
    plugins: Sequence[Plugin] = ()

    def apply(self, recipe: Recipe) -> Recipe:
        """``recipe`` with the changes. Raises RecipeError."""
        options = {} if self.data is None else {"data.source": self.data}
        recipe = recipe.add_plugins(decisive_plugins(self.plugins))
        return apply_overrides(recipe, self.assignments, options)

    def describe(self, is_file: bool) -> str:
        """What was given again, in words."""
        file = [self.name] if is_file else []
        data = [] if self.data is None else [f"--data {self.data}"]
        plugins = [f"--plugin {plugin.file}" for plugin in self.plugins]
        return " ".join([*file, *plugins, *self.assignments, *data])

    def recipe(self) -> Recipe:
        """The recipe of that name with the changes. Raises RecipeError."""
        return self.apply(find(self.name, self.plugins))


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
    request = TrainRequest(name, assignments, data, approve_plugins(plugins))
    _require_no_contradiction(resume, extend, schedule)
    trained = False
    if extend is None and not resume:
        recipe = request.recipe()
        folder = RunFolder(run) if run else new_folder(recipe)
    else:
        folder = RunFolder(run) if run else _latest(request.recipe(), resume)
        _require_same(request, folder)
        recipe, trained = folder.recipe(), resume and folder.finished and not folder.reported
    if extend is not None:
        recipe, folder = extended(folder, _extension(extend, schedule))
    known = (*recipe.plugins, *request.plugins)
    going_on = resume or extend is not None
    return Launch(recipe, folder, going_on, name_callbacks(callbacks, known), trained)


def _latest(recipe: Recipe, resume: bool) -> RunFolder:
    """The newest finished run; to ``resume``, the newest unfinished one.

    Where there is none, the newest that was ended while its report was drawn. RunFolderError.
    """
    if not resume:
        return latest_folder(recipe, finished=True)
    try:
        return latest_folder(recipe, finished=False)
    except RunFolderError:
        with suppress(RunFolderError):
            trained = latest_folder(recipe, finished=True)
            if not trained.reported:
                return trained
        raise


def _require_no_contradiction(resume: bool, extend: str | None, schedule: str | None) -> None:
    if extend is not None and resume:
        raise UserError(
            "--resume goes on with an unfinished run, --extend with a finished one", "give one"
        )
    if schedule is not None and extend is None:
        raise UserError(
            "--schedule says what the learning rate does during --extend, which is not given",
            "to train with another schedule, set schedule.kind=...",
        )


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


def _require_same(request: TrainRequest, folder: RunFolder) -> None:
    """What is named again must be the folder's: its recipe, and every setting given."""
    begun = folder.recipe()
    is_file = request.name not in (begun.name, *shipped_recipes())
    if request.name != begun.name and find(request.name).name != begun.name:
        raise RunFolderError(
            f"{folder.path} was begun with the recipe {begun.name}, not {request.name}",
            f"go on with: {folder.resume_command(begun.name)}",
        )
    # extensions are added by --extend, so a file does not have them
    requested = request.recipe() if is_file else request.apply(begun)
    begun_so_far = begun.training.model_dump(mode="json")["extensions"]
    if fingerprint(change(requested, {"training.extensions": begun_so_far})) != fingerprint(begun):
        raise RunFolderError(
            f"{folder.path} was begun with other settings than {request.describe(is_file)}",
            "leave them out to go on, or start a new run in another folder",
        )
