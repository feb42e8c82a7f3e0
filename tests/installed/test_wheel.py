"""What is built from the sources is whole: it trains and reports where nothing else of ours is.

Libraries are those of the tests' own environment: nothing needs a network.
"""

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import cifarlab

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, folder: Path) -> str:
    """Run a command that must succeed and return what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist, and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, folder=ROOT)
    return folder


@pytest.fixture(scope="module")
def command(dist: Path) -> Path:
    """The command ``cifarlab`` of an environment with the wheel."""
    environment = dist / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (wheel,) = dist.glob("*.whl")
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, folder=dist)
    libraries = Path(pytest.__file__).parents[1]  # a .pth adds it without what is editable there
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    return environment / "bin" / "cifarlab"


def sources() -> set[str]:
    """All files that belong to the packages, as git knows them."""
    return set(run("git", "ls-files", "cifarlab", "cifarlab_serve", folder=ROOT).split())


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert wheel.name.startswith(f"cifarlab-{cifarlab.__version__}-py3")
    names = {n for n in zipfile.ZipFile(wheel).namelist() if not n.split("/")[0].endswith("-info")}
    assert names == sources()
    for name in names:  # so that cifarlab-serve, of which the same is tested, has the same files
        assert zipfile.ZipFile(wheel).read(name) == (ROOT / name).read_bytes()


def test_the_sdist_holds_every_file_of_the_packages(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert sources() <= names
    assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml"} <= names


def test_the_wheel_trains_reports_and_predicts(command: Path, tmp_path: Path) -> None:
    assert cifarlab.__version__ in run(command, "--version", folder=tmp_path)
    length = "training.duration=2 epochs"
    run(command, "train", "quickstart", length, "--run", "first", folder=tmp_path)
    run(command, "report", "first", folder=tmp_path)
    assert (tmp_path / "first" / "report" / "report.html").exists()
    python = command.parent / "python"
    where = run(python, "-c", "import cifarlab; print(cifarlab.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(command.parents[1])
