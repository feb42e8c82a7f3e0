"""Longer training: a finished run's continuation, in a folder of its own."""

from pathlib import Path

from cifarlab.recipes.schema import Extension, Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RecipeError, RunFolderError
from cifarlab.system.files import write_bytes
from cifarlab.training.checkpoint import Checkpoints


def require_trained(recipe: Recipe) -> None:
    """Refuse a recipe of a network that is not trained.

    Raises:
        RecipeError: it is a combination of other runs
    """
    if recipe.combination:
        what = f"{recipe.name} is the {recipe.combination.method} of other runs: it is not trained"
        raise RecipeError(what, "train its members, and join them with 'cifarlab combine RUN...'")


def extend_run(folder: RunFolder, extension: Extension) -> tuple[Recipe, RunFolder]:
    """Return recipe and folder of the continuation, ready to be resumed; the finished run stays.

    The recipe has both lengths, so that trained from scratch it gives the same weights. The folder
    is named after the finished one, e.g. ``runs/a+10-epochs-hold``.

    Raises:
        RecipeError: the run is a combination of others
        RunFolderError: the run is not finished, or ended early, or the continuation exists
        CheckpointError: the weights are not those that the run ended with
        StorageError: the folder can't be written
    """
    recipe, result = folder.recipe(), folder.result()
    require_trained(recipe)
    if result is None:
        what = f"the run in {folder.path} has not finished"
        raise RunFolderError(what, "finish it with --resume first")
    if (stop_reason := result["stop_reason"]) != "planned":
        cause = "a search" if stop_reason == "stopped" else f"training.{stop_reason}"
        raise RunFolderError(
            f"the run in {folder.path} ended before its planned length, by {cause}",
            f"an extension starts at that length: train anew without {cause}",
        )
    suffix = f"+{str(extension.duration).replace(' ', '-')}-{extension.schedule}"
    suffix += "-from-best" if extension.start == "best" else ""
    path = folder.path if folder.path.name else folder.path.resolve()  # it may be just a dot
    target = RunFolder(path.with_name(path.name + suffix))
    if target.exists:
        raise RunFolderError(
            f"{target.path} holds that continuation already",
            f"if it is unfinished, go on with: {target.resume_command(recipe.name)}",
        )
    for checkpoint in ("last", "best"):
        folder.measured_weights(checkpoint)
    # what resuming reads, where it exists: resuming itself refuses what is missing
    logs = folder.metrics.path, folder.tensor_stats.path
    for file in filter(Path.exists, (*Checkpoints(folder).files(), *logs)):
        write_bytes(target.path / file.relative_to(folder.path), file.read_bytes())
    parts = (*recipe.training.extensions, extension)
    extensions = [part.model_dump(mode="json") for part in parts]
    recipe = change(recipe, {"training.extensions": extensions})
    # with the openings of the test split: whoever extends has seen a test result
    target.write_provenance({**folder.provenance(), "extends": str(folder.path)})
    target.write_recipe(recipe)
    return recipe, target
