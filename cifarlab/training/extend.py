"""Longer training: a finished run's continuation, in a folder of its own."""

from pathlib import Path

from cifarlab.recipes.schema import Extension, Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import write_bytes
from cifarlab.training.checkpoint import Checkpoints


def extended(folder: RunFolder, extension: Extension) -> tuple[Recipe, RunFolder]:
    """Recipe and folder of the continuation, ready to be resumed; the finished run stays.

    The recipe says both lengths, so that run from scratch it gives the same. The folder is named
    after the finished one, e.g. ``runs/a+10-epochs-hold``. Raises RunFolderError where the run is
    not finished or the continuation exists, CheckpointError where its weights are not those that
    it ended with, StorageError.
    """
    recipe, result = folder.recipe(), folder.result()
    if result is None:
        what = f"the run in {folder.path} has not finished"
        raise RunFolderError(what, "finish it with --resume first")
    if (stop_reason := result["stop_reason"]) != "planned":
        by = "a search" if stop_reason == "stopped" else f"training.{stop_reason}"
        raise RunFolderError(
            f"the run in {folder.path} ended before its planned length, by {by}",
            f"an extension starts at that length: train anew without {by}",
        )
    suffix = f"+{str(extension.duration).replace(' ', '-')}-{extension.schedule}"
    named = folder.path if folder.path.name else folder.path.resolve()  # it may be just a dot
    target = RunFolder(named.with_name(named.name + suffix))
    if target.exists:
        raise RunFolderError(
            f"{target.path} holds that continuation already",
            f"if it is unfinished, go on with: {target.resume_command(recipe.name)}",
        )
    for checkpoint in ("last", "best"):
        folder.measured_weights(checkpoint)
    # what resuming reads, as far as it is there: resuming says what is missing
    logs = folder.metrics.path, folder.tensor_stats.path
    for file in filter(Path.exists, (*Checkpoints(folder).files(), *logs)):
        write_bytes(target.path / file.relative_to(folder.path), file.read_bytes())
    extensions = (*recipe.training.extensions, extension)
    longer = [part.model_dump(mode="json") for part in extensions]
    recipe = change(recipe, {"training.extensions": longer})
    # all of it, openings of the test split included: whoever extends has seen a test result
    target.write_provenance({**folder.provenance(), "extends": str(folder.path)})
    target.write_recipe(recipe)
    return recipe, target
