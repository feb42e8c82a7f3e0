"""What all tests share: a cache of their own, the CPU, one thread, a network that trains fast."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch is imported: the last bits depend on the number of threads, also in subprocesses.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import HealthCheck, settings
from safetensors import safe_open
from safetensors.torch import save

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.training.callback import Callback

# Every kind of draw takes part: order, crop, flip, dropout; so do momentum and running statistics.
TINY = {
    "name": "tiny",
    "data": {"source": "digits"},
    "augment": {"crop": {"padding": 1}, "hflip": "random"},
    "model": {
        "kind": "resnet",
        "stem_width": 4,
        "depths": [1, 1],
        "channels": [4, 8],
        "strides": [1, 2],
        "dropout": 0.1,
    },
    "optimizer": {"kind": "sgd", "lr": 0.1, "nesterov": True, "weight_decay": 5e-4},
    "schedule": {"kind": "cosine", "warmup": "1 epoch"},
    "training": {"duration": "3 epochs", "batch_size": 128, "precision": "float32"},
}
STEPS_PER_EPOCH = 11  # 1,294 training images in batches of 128

# A busy machine is no failure: nothing here is held to a time.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CIFARLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CIFARLAB_DEVICE", "cpu")
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        patch.delenv("FORCE_COLOR", raising=False)
        if hasattr(signal, "SIGHUP"):  # under nohup it is ignored, by cifarlab too
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
        yield


@pytest.fixture(scope="session")
def tiny() -> Callable[..., Recipe]:
    """A function: the tiny recipe (3 epochs of 11 steps) with settings changed by dotted path."""

    def make(changes: dict[str, Any] | None = None) -> Recipe:
        return change(build(TINY), changes or {})

    return make


@pytest.fixture(scope="session")
def finished(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The tiny recipe, trained once without interruption. Read it, never write to it."""
    from cifarlab.training.train import train

    folder = RunFolder(tmp_path_factory.mktemp("finished") / "run")
    train(tiny(), folder)
    return folder


@pytest.fixture
def copied(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of the finished run that a test may spoil."""
    shutil.copytree(finished.path, tmp_path / "copied")
    return RunFolder(tmp_path / "copied")


@pytest.fixture(scope="session")
def end_of() -> Callable[[RunFolder], dict[str, Any]]:
    """A function: all that two runs of one recipe must have in common to the last bit."""
    return _end_of


def _end_of(folder: RunFolder) -> dict[str, Any]:
    files = [folder.weights("last"), folder.weights("best"), *folder.predictions.glob("*")]
    return {
        **{file.name: _hash(file.read_bytes()) for file in sorted(files) if file.exists()},
        "state": _state(folder.weights("last.state")),
        "metrics": without_cost(folder.metrics.read()),
        "result": without_cost(folder.result()),
    }


def _state(path: Path) -> tuple[str, dict[str, Any]]:
    """The state's tensors and its counters, without what a clock measured."""
    with safe_open(path, "pt") as file:
        counters = json.loads(file.metadata()["cifarlab"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    counters.pop("seconds")
    return _hash(save(tensors)), counters


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


class _SignalAfter(Callback):
    """A callback that sends this process a signal after a step, counted from the run's start."""

    def __init__(self, step: int, signum: int) -> None:
        self.step, self.signum = step, signum

    def on_step_end(self, run: Any, images: int) -> None:
        if run.state.step == self.step:
            os.kill(os.getpid(), self.signum)


@pytest.fixture(scope="session")
def signal_after() -> Callable[..., _SignalAfter]:
    """A function of (step, signal): the callback that interrupts a run just there."""

    def make(step: int, signum: int = signal.SIGINT) -> _SignalAfter:
        return _SignalAfter(step, signum)

    return make
