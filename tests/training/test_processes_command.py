"""``torchrun -m cifarlab train``: signals, a lost process, what is printed, going on."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from torchrun_jobs import torchrun

from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.train import train

# 21 steps an epoch, long enough to be hit from outside
LENGTH = {"training.batch_size": 64, "training.duration": "12 epochs", "optimizer.lr": 0.02}


@pytest.fixture(scope="module")
def alone(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = RunFolder(tmp_path_factory.mktemp("alone") / "run")
    train(tiny(LENGTH), folder)
    return folder


def start_two(recipe: Recipe, folder: RunFolder, *words: str) -> subprocess.Popen[str]:
    """Start it in two processes; returns once two epochs are written down, one of them whole."""
    file = folder.path.with_suffix(".yaml")
    file.write_text(to_yaml(recipe))
    before = len(folder.metrics.read())
    process = torchrun("-m", "--", "cifarlab", "train", file, "--run", folder.path, *words)
    while len(folder.metrics.read()) < before + 2 and process.poll() is None:
        time.sleep(0.01)
    return process


def require_same_end(alone: RunFolder, folder: RunFolder) -> None:
    assert folder.is_finished
    for line, reference in zip(folder.metrics.read(), alone.metrics.read(), strict=True):
        np.testing.assert_allclose(line["train"]["loss"], reference["train"]["loss"], rtol=1e-3)


def test_torchrun_is_stopped_and_one_process_goes_on(tmp_path: Path, alone: RunFolder) -> None:
    folder = RunFolder(tmp_path / "run")
    process = start_two(alone.recipe(), folder)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    about, _ = WeightsFile.read(folder.weights("last"))
    assert process.returncode != 0
    assert 21 <= about.step < 252
    assert errors.count(f"stopped: interrupted after step {about.step} of 252") == 1
    assert errors.count("go on with: cifarlab train tiny") == 1
    assert not folder.is_finished
    assert output.count("2 x cpu, float32") == 1
    assert output.count("epoch   1/12") == 1
    train(alone.recipe(), folder, resume=True)
    require_same_end(alone, folder)


def test_a_process_is_lost_and_two_go_on(tmp_path: Path, alone: RunFolder) -> None:
    folder = RunFolder(tmp_path / "run")
    process = start_two(alone.recipe(), folder)
    (second,) = (
        child for child in psutil.Process(process.pid).children() if child.environ()["RANK"] == "1"
    )
    second.kill()
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert errors.count("failed: another of the 2 processes was lost") == 1
    assert "--resume" in errors
    assert not folder.is_finished
    epochs = len(folder.metrics.read())
    about, _ = WeightsFile.read(folder.weights("last"))
    assert about.step in (21 * epochs, 21 * (epochs - 1))
    process = start_two(alone.recipe(), folder, "--resume")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count("going on after step") == output.count("report: ") == 1
    assert [start["processes"] for start in folder.provenance()["starts"]] == [2, 2]
    require_same_end(alone, folder)


def test_a_mistake_is_printed_once(tmp_path: Path) -> None:
    process = torchrun("-m", "--", "cifarlab", "train", "quickstat", "--run", tmp_path / "run")
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    assert errors.count("did you mean 'quickstart'?") == 1
    assert not (tmp_path / "run").exists()
