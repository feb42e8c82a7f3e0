"""Longer training: a finished run's continuation, in a folder of its own."""

import shutil
from pathlib import Path
from typing import Any

from cifarlab.errors import RunFolderError
from cifarlab.recipe import Recipe
from cifarlab.recipe.schema import Extension, Training
from cifarlab.run import RunFolder
from cifarlab.storage import disk_errors
from cifarlab.train.checkpoint import Checkpoints


def extended(folder: RunFolder, extension: Extension) -> tuple[Recipe, RunFolder]:
    """Recipe and folder of the continuation, ready to be resumed; the finished run stays.

    The recipe says both lengths, so that run from scratch it gives the same. The folder is named
    after the finished one, e.g. ``runs/a+10-epochs-hold``. Raises RunFolderError where the run is
    not finished or the continuation exists, StorageError.
    """
    recipe = folder.recipe()
    if not folder.finished:
        raise RunFolderError(
            f"the run in {folder.path} has not finished", "finish it with --resume first"
        )
    training = recipe.training
    longer = Training.model_validate(
        {**training.model_dump(), "extensions": (*training.extensions, extension)}
    )
    suffix = f"+{str(extension.duration).replace(' ', '-')}-{extension.schedule}"
    target = RunFolder(folder.path.with_name(folder.path.name + suffix))
    if target.exists:
        raise RunFolderError(
            f"{target.path} holds that continuation already",
            "go on with --resume if it is unfinished",
        )
    _copy(folder, target)
    recipe = recipe.model_copy(update={"training": longer})
    source = folder.provenance()
    kept: dict[str, Any] = {k: source[k] for k in ("precision", "data") if k in source}
    target.write_provenance({**kept, "extends": str(folder.path)})
    target.write_recipe(recipe)
    return recipe, target


def _copy(source: RunFolder, target: RunFolder) -> None:
    """The files that resuming reads: journal and checkpoints."""
    with disk_errors(target.path):
        target.checkpoints.mkdir(parents=True, exist_ok=True)
        files: list[Path] = Checkpoints(source).files()
        for file in files:
            shutil.copyfile(file, target.checkpoints / file.name)
        shutil.copyfile(source.journal.path, target.journal.path)
