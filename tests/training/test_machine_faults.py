"""The machine fails: no memory, no disk, a line cut short. Words, not traces; no work lost."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from cifarlab.inference.weights import WeightsFile
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import OutOfMemoryError, StorageError
from cifarlab.training import loop
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train


def too_large(*_: Any) -> None:
    torch.empty(2**55)


def raising(error: BaseException) -> Callable[..., None]:
    def step(*_: Any) -> None:
        raise error

    return step


@pytest.mark.parametrize(
    "step",
    [
        raising(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")),
        raising(MemoryError()),
        too_large,  # what PyTorch really says on a CPU
    ],
    ids=["cuda", "python", "cpu"],
)
def test_out_of_memory_says_what_to_change(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch, step: Callable
) -> None:
    monkeypatch.setattr(loop, "step", step)
    with pytest.raises(OutOfMemoryError, match=r"training\.batch_size=128") as caught:
        train(tiny(), RunFolder(tmp_path / "run"))
    assert "halve training.batch_size" in caught.value.hint
    assert "\n" not in caught.value.what
    assert caught.value.exit_code == 1


def test_other_runtime_errors_are_not_called_out_of_memory(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "step", raising(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        train(tiny(), RunFolder(tmp_path / "run"))


class DoAfterStep(Callback):
    """Calls a function once, after a step."""

    def __init__(self, step: int, action: Callable[[], Any]) -> None:
        self.step, self.action = step, action

    def on_step_end(self, run: Run, images: int) -> None:
        if run.state.step == self.step:
            self.action()


def no_space(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def require_resumable(folder: RunFolder, tiny: Callable, end: Any, end_of: Callable) -> None:
    assert WeightsFile.read(folder.weights("last"))[0].epoch == 1
    assert not list(folder.path.rglob("*.part"))
    train(tiny(), folder, resume=True)
    assert end_of(folder) == end


@pytest.mark.parametrize("calls", range(5))
def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, tiny: Callable, finished: RunFolder, end_of: Callable, calls: int
) -> None:
    """In the second epoch, flush number ``calls`` fails: metrics log, best, weights, state..."""
    folder, left, real = RunFolder(tmp_path / "run"), iter(range(calls)), os.fsync
    with pytest.MonkeyPatch.context() as patch:

        def failing(descriptor: int) -> None:
            if next(left, None) is None:
                no_space()
            real(descriptor)

        callback = DoAfterStep(20, lambda: patch.setattr(os, "fsync", failing))
        with pytest.raises(StorageError, match="No space left") as caught:
            train(tiny(), folder, callbacks=[callback])
    assert "free some space" in caught.value.hint
    if calls < 3:  # metrics log, weights or state of the second epoch
        require_resumable(folder, tiny, end_of(finished), end_of)
    else:  # the second epoch was written down whole
        train(tiny(), folder, resume=True)
        assert end_of(folder) == end_of(finished)


@contextmanager
def small_files_only(size: int) -> Iterator[None]:
    """Writing more than ``size`` bytes to any file fails for real, inside the library that does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_really_refuses(
    tmp_path: Path, tiny: Callable, finished: RunFolder, end_of: Callable
) -> None:
    folder = RunFolder(tmp_path / "run")
    limit = small_files_only(4000)  # the metrics log fits, no checkpoint does
    try:
        with pytest.raises(StorageError, match="File too large"):
            train(tiny(), folder, callbacks=[DoAfterStep(20, limit.__enter__)])
    finally:
        limit.__exit__(None, None, None)
    require_resumable(folder, tiny, end_of(finished), end_of)


@pytest.mark.parametrize(
    "torn", ["{", '{"epoch": 3, "step": 33', '{"epoch": 3, "step": 33, "lr": 0.1}', "\x00\x00"]
)
def test_a_torn_last_line_is_healed_on_resume(
    copied: RunFolder, finished: RunFolder, tiny: Callable, end_of: Callable, torn: str
) -> None:
    copied.result_file.unlink()
    with copied.metrics.path.open("a") as file:
        file.write(torn)
    train(tiny(), copied, resume=True)
    assert copied.metrics.path.read_bytes() == finished.metrics.path.read_bytes()
    assert end_of(copied) == end_of(finished)
