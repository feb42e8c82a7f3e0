"""SIGKILL at random moments: whatever it hits, the end is that of an uninterrupted run."""

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from combined_settings import ALL_SETTINGS

from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.train import train

KILLS = 6
LENGTH = {"training.duration": "8 epochs", "training.batch_size": 32}


@pytest.fixture(scope="module", params=[{}, ALL_SETTINGS], ids=["tiny", "all settings"])
def uninterrupted_run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    tiny: Callable[..., Recipe],
) -> RunFolder:
    """The uninterrupted run: 8 epochs of 41 steps, best and last measured apart."""
    folder = RunFolder(tmp_path_factory.mktemp("uninterrupted") / "run")
    train(tiny(request.param | LENGTH), folder)
    return folder


def go_on(recipe: Recipe, path: Path) -> None:
    """What each new process does: begin the run, or resume it."""
    folder = RunFolder(path)
    train(recipe, folder, resume=folder.exists)


def start(recipe: Recipe, path: Path) -> multiprocessing.process.BaseProcess:
    """A process that trains; it is forked from a clean server that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cifarlab.training.train", "torch._dynamo", "sklearn.metrics"])
    process = context.Process(target=go_on, args=(recipe, path))
    before = count_starts(path)
    process.start()
    while count_starts(path) == before and process.is_alive():
        time.sleep(0.002)
    return process


def count_starts(path: Path) -> int:
    return len(RunFolder(path).provenance().get("starts", []))


@pytest.mark.parametrize("seed", [0])  # more of them to search, one to guard
def test_killed_again_and_again(
    tmp_path: Path, uninterrupted_run: RunFolder, end_of: Callable, seed: int
) -> None:
    folder, recipe = RunFolder(tmp_path / "run"), uninterrupted_run.recipe()
    cost = uninterrupted_run.result()["cost"]
    epoch = (cost["train_seconds"] + cost["evaluate_seconds"]) / 8
    draws, kills = random.Random(seed), 0
    for number in range(KILLS):
        process = start(recipe, folder.path)
        while process.is_alive() and len(folder.metrics.read()) < number:
            time.sleep(0.002)
        time.sleep(draws.uniform(0, 1.3 * epoch))  # anywhere in that epoch or the next
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
    assert kills > 2  # the last ones hit nothing if the machine suddenly became faster
    if not folder.is_finished:
        go_on(recipe, folder.path)
    assert any(begun["step"] for begun in folder.provenance()["starts"])  # something was resumed
    assert end_of(folder) == end_of(uninterrupted_run)
