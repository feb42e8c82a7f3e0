"""Training: a recipe and a folder become a finished run."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from cifarlab.config.plugins import plugin_errors
from cifarlab.data.dataset import Progress
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import new_folder
from cifarlab.system.errors import Interrupted, OutOfMemoryError, RecipeError, RunFolderError
from cifarlab.system.processes import SINGLE_PROCESS, Processes
from cifarlab.system.signals import StopRequest, stop_on_signal
from cifarlab.training.callback import Callback
from cifarlab.training.display import Display
from cifarlab.training.extend import require_trained
from cifarlab.training.finish import finish
from cifarlab.training.loop import fit
from cifarlab.training.memory_fit import fit_memory
from cifarlab.training.run import Resume, Session
from cifarlab.training.setup import prepare
from cifarlab.training.warmup import compile_ahead


def train(
    recipe: Recipe,
    folder: RunFolder | Path | str | None = None,
    *,
    resume: Resume = False,
    callbacks: Sequence[Callback] | None = None,
    command: str = "cifarlab.train",
    progress: Progress | None = None,
    stop: StopRequest | None = None,
    processes: Processes = SINGLE_PROCESS,
    threads: int | None = None,
) -> dict[str, Any]:
    """Train a recipe to its end and return the result (see result.json).

    Args:
        recipe: what to train
        folder: the run folder; None: a new one under ``runs/``
        resume: go on from the last checkpoint in the folder, which must be of the same recipe, or
            from the ``best`` one; otherwise the folder must not exist or be empty
        callbacks: what watches the run in its main process; None: its progress is printed, as by
            the command line
        command: what the provenance says that started the run
        progress: is called in the main process while data are downloaded and decoded
        stop: ends the run when it is set, from outside at any time
        processes: those of the run (``init_distributed``); each of them calls this function
        threads: how many a CPU computes with; None: as ``cifarlab.system.threads`` chooses

    Raises every error of cifarlab.system.errors.
    """
    on_main = processes.broadcast_from_rank0
    if not isinstance(folder, RunFolder):
        folder = on_main(lambda: new_folder(recipe)) if folder is None else RunFolder(folder)
    with ExitStack() as contexts, plugin_errors(), _translate_errors(recipe, folder):
        callbacks, progress = (callbacks, progress) if processes.is_main_process else ((), None)
        if callbacks is None:
            display = contexts.enter_context(Display())
            callbacks, progress = [display], progress or display.prepare
        stop = stop or StopRequest()
        session = Session(resume, callbacks, command, progress, stop, processes, threads)
        on_main(lambda: contexts.enter_context(folder.lock()))
        on_main(lambda: _require_fitting_folder(recipe, folder, bool(resume)))
        run = prepare(recipe, folder, session)
        fit_memory(run)
        try:
            for callback in run.callbacks:
                callback.on_train_start(run)
            compile_ahead(run)
            with stop_on_signal(run.stop):
                reason = fit(run)
            result = on_main(lambda: finish(run, reason), patient=True)
            for callback in run.callbacks:
                callback.on_train_end(run, result)
        finally:
            for callback in run.callbacks:
                callback.teardown(run)
    return result


def _require_fitting_folder(recipe: Recipe, folder: RunFolder, resume: bool) -> None:
    require_trained(recipe)
    if not resume and not folder.is_vacant:
        raise RunFolderError(
            f"{folder.path} holds {'a run' if folder.exists else 'other files'} already",
            "go on with --resume or --extend, or give another folder with --run",
        )
    if resume and folder.is_finished:
        what = f"the run in {folder.path} has finished"
        raise RunFolderError(what, "train longer with --extend, or start another with --run")
    if resume and fingerprint(folder.recipe()) != fingerprint(recipe):
        raise RunFolderError(
            f"{folder.path} was begun with another recipe", "resume it with its own recipe.yaml"
        )


@contextmanager
def _translate_errors(recipe: Recipe, folder: RunFolder) -> Iterator[None]:
    """Turn Ctrl-C outside of the loop, and a device without free memory, into errors of ours."""
    try:
        yield
    except KeyboardInterrupt as error:
        what = "interrupted outside of training; every finished epoch is kept"
        resume = f"go on with: {folder.resume_command(recipe.name)}"
        hint = resume if folder.exists else "nothing was begun: start again"
        raise Interrupted(what, hint, signal.SIGINT) from error
    except (ValueError, MemoryError, RuntimeError) as error:
        size, text = f"training.batch_size={recipe.training.batch_size}", str(error)
        if "more than 1 value per channel" in text:
            raise RecipeError(
                "batch normalisation can't train on one value per channel: these images shrink "
                f"to a single pixel at {size}",
                "raise training.batch_size, or use larger images or smaller strides",
            ) from error
        # PyTorch's allocator on a CPU has no class of its own for it
        full = isinstance(error, torch.OutOfMemoryError | MemoryError)
        if full or "can't allocate memory" in text or "out of memory" in text:
            first = text.splitlines()[0] if text else "no memory left"
            raise OutOfMemoryError(
                f"out of memory at {size}: {first:.120}",
                "halve training.batch_size (and optimizer.lr with it), or take a smaller network",
            ) from error
        raise
