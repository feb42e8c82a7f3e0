"""macOS and Windows lack what Linux has; cifarlab imports, trains and evaluates without it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from other_systems import MODULES, hide_names

import cifarlab
import cifarlab_serve

SCRIPT = Path(__file__).with_name("other_systems.py")
SYSTEMS = ("macos", "windows")
PACKAGES = [Path(package.__file__).parent for package in (cifarlab, cifarlab_serve)]
N_MODULES = len([file for package in PACKAGES for file in package.rglob("*.py")])


def on(system: str, *words: object) -> str:
    command = [sys.executable, str(SCRIPT), system, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_hidden_is_there_on_linux() -> None:
    assert {"resource", "fcntl"} <= MODULES["windows"]
    for system, lost in (("macos", {"sysconf"}), ("windows", {"sysconf", "fork", "killpg"})):
        assert lost <= set(dir(os)) - set(dir(hide_names(system, os)))
    there = hide_names("windows", signal)
    assert {"SIGHUP", "SIGKILL", "pthread_sigmask"} <= set(dir(signal)) - set(dir(there))
    assert {"SIGINT", "SIGTERM", "SIG_IGN", "signal", "getsignal"} <= set(dir(there))
    assert {"environ", "path", "fsync", "read", "cpu_count"} <= set(dir(hide_names("windows", os)))


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_module_is_imported(system: str) -> None:
    assert int(on(system, "--import")) > N_MODULES - 6


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_machine_is_described(system: str) -> None:
    assert "GiB free of" in on(system, "check")


def test_a_run_is_trained_and_evaluated(tmp_path: Path) -> None:
    settings = ("training.duration=1 epoch", "data.train_subset_fraction=0.1")
    printed = on("windows", "train", "quickstart", "--run", tmp_path / "run", *settings)
    assert "test accuracy" in printed
