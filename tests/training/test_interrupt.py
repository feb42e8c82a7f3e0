"""SIGINT, SIGTERM, SIGHUP: a checkpoint after the step at hand; resumed, the end is the same."""

import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training.request import resolve_request
from cifarlab.training.train import train

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


# the first step, mid-epoch, an epoch's last step, the first of the next, the run's last two
@pytest.mark.parametrize("step", [1, 5, 11, 12, 32, 33])
@pytest.mark.parametrize("signum", SIGNALS)
def test_resumed_is_bit_identical(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    finished: RunFolder,
    end_of: Callable,
    signal_after: Callable,
    step: int,
    signum: int,
) -> None:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted, match=f"after step {step} of 33") as caught:
        train(tiny(), folder, callbacks=[signal_after(step, signum)])
    assert caught.value.exit_code == 128 + signum
    about, _ = WeightsFile.read(folder.weights("last"))
    assert (about.step, about.epoch) == (step, step // 11)
    assert not folder.is_finished
    train(tiny(), folder, resume=True)
    assert end_of(folder) == end_of(finished)


def test_interrupted_many_times(
    tmp_path: Path,
    tiny: Callable[..., Recipe],
    finished: RunFolder,
    end_of: Callable,
    signal_after: Callable,
) -> None:
    folder = RunFolder(tmp_path / "run")
    for step in (2, 3, 9, 22, 23, 31):
        with pytest.raises(Interrupted):
            train(tiny(), folder, resume=folder.exists, callbacks=[signal_after(step)])
    train(tiny(), folder, resume=True)
    assert end_of(folder) == end_of(finished)
    assert [start["step"] for start in folder.provenance()["starts"]] == [0, 2, 3, 9, 22, 23, 31]


def test_the_handlers_are_put_back(
    tmp_path: Path, tiny: Callable[..., Recipe], signal_after: Callable
) -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with pytest.raises(Interrupted):
        train(tiny(), RunFolder(tmp_path / "run"), callbacks=[signal_after(1)])
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


def resume_command(error_text: str) -> list[str]:
    return shlex.split(error_text.partition("go on with: ")[2])


def resolve_command(command: list[str]) -> tuple[Recipe, RunFolder]:
    """What the printed command would train."""
    assert command[:2] == ["cifarlab", "train"]
    assert command[3::2] == ["--run", "--resume"]
    request = resolve_request(command[2], run=Path(command[4]), resume=True)
    return request.recipe, request.folder


@pytest.mark.parametrize("folder_name", ["run", "with space", "quote'd", "a;b"])
def test_the_printed_command_works_for_any_recipe_and_folder(
    tmp_path: Path, tiny: Callable[..., Recipe], signal_after: Callable, folder_name: str
) -> None:
    """Also for a recipe that came from a file and so is not among the shipped ones."""
    folder = RunFolder(tmp_path / folder_name)
    with pytest.raises(Interrupted) as caught:
        train(tiny(), folder, callbacks=[signal_after(5)])
    recipe, target = resolve_command(resume_command(caught.value.hint))
    assert recipe == tiny()
    assert target.path == folder.path


@pytest.fixture(scope="module")
def uninterrupted_run(
    tmp_path_factory: pytest.TempPathFactory, tiny: Callable[..., Recipe]
) -> RunFolder:
    """A run of 486 steps, long enough to be hit from outside in its second epoch or later."""
    folder = RunFolder(tmp_path_factory.mktemp("uninterrupted") / "run")
    train(tiny({"training.duration": "6 epochs", "training.batch_size": 16}), folder)
    return folder


@pytest.mark.parametrize("signum", SIGNALS)
def test_from_the_command_line(
    tmp_path: Path, uninterrupted_run: RunFolder, end_of: Callable, signum: int
) -> None:
    recipe = uninterrupted_run.recipe()
    (tmp_path / "own.yaml").write_text(to_yaml(recipe))
    folder = RunFolder(tmp_path / "run")
    command = ["train", str(tmp_path / "own.yaml"), "--run", str(folder.path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "cifarlab", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not folder.metrics.path.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signum)
    _, errors = process.communicate()
    about, _ = WeightsFile.read(folder.weights("last"))
    assert process.returncode == 128 + signum, errors
    assert f"interrupted after step {about.step} of 486" in errors
    assert len(errors.splitlines()) == 2
    assert resolve_command(resume_command(errors))[0] == recipe
    train(recipe, folder, resume=True)
    assert end_of(folder) == end_of(uninterrupted_run)


def test_who_ignores_a_closed_terminal_trains_on(
    tmp_path: Path, tiny: Callable[..., Recipe], signal_after: Callable
) -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        train(tiny(), RunFolder(tmp_path / "run"), callbacks=[signal_after(5, signal.SIGHUP)])
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
    assert RunFolder(tmp_path / "run").is_finished


@pytest.mark.parametrize("delay", [0, 0.02, 0.05])  # an epoch ends, and is printed, or a step
def test_a_closed_terminal_leaves_a_checkpoint(
    tmp_path: Path, uninterrupted_run: RunFolder, delay: float
) -> None:
    """Nothing can be printed there any more; the exit code still says what it was."""
    (tmp_path / "own.yaml").write_text(to_yaml(uninterrupted_run.recipe()))
    folder = RunFolder(tmp_path / "run")
    command = [sys.executable, "-m", "cifarlab", "train", str(tmp_path / "own.yaml")]
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*command, "--run", str(folder.path)])
    while not folder.metrics.path.exists():
        os.read(terminal, 4096)
    time.sleep(delay)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 128 + signal.SIGHUP
    about, _ = WeightsFile.read(folder.weights("last"))
    assert about.step > 0 and not folder.is_finished
