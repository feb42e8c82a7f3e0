"""What is built from the sources is whole: it works where nothing is but what it requires."""

import json
import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from environments import link, required, requirements
from PIL import Image

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


def install(dist: Path, *extras: str) -> Path:
    """Install the wheel with extras in a fresh environment; return its command ``cifarlab``."""
    environment = dist / "-".join(["environment", *extras])
    venv.create(environment, with_pip=False, symlinks=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (wheel,) = dist.glob("*.whl")
    for name in requirements(required(wheel), *extras):
        link(name, packages)
    pip = (sys.executable, "-m", "pip", "--python", environment / "bin" / "python")
    run(*pip, "install", "--quiet", "--no-index", wheel, folder=dist)  # complains of what lacks
    return environment / "bin" / "cifarlab"


@pytest.fixture(scope="module")
def command(dist: Path) -> Path:
    """The command where no extra is installed."""
    return install(dist)


@pytest.fixture(scope="module")
def trained(command: Path, dist: Path) -> Path:
    """A run of two epochs, with its report."""
    length = "training.duration=2 epochs"
    run(command, "train", "quickstart", length, "--run", "first", folder=dist)
    return dist / "first"


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


def test_the_wheel_trains_reports_and_predicts(
    command: Path, trained: Path, tmp_path: Path
) -> None:
    assert cifarlab.__version__ in run(command, "--version", folder=tmp_path)
    assert (trained / "report" / "report.html").exists()
    run(command, "report", trained, folder=tmp_path)
    Image.new("L", (8, 8)).save(tmp_path / "digit.png")
    text = run(command, "predict", trained, "digit.png", "--format", "json", folder=tmp_path)
    (prediction,) = json.loads(text)["images"]
    assert prediction["class"] in map(str, range(10))
    python = command.parent / "python"
    where = run(python, "-c", "import cifarlab; print(cifarlab.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(command.parents[1])


def test_what_the_core_lacks_is_refused(command: Path, trained: Path, tmp_path: Path) -> None:
    """The environment is fresh: the tests' own has all extras."""
    done = subprocess.run([command, "export", trained], capture_output=True, text=True)
    assert done.returncode == 2 and "pip install 'cifarlab[export]'" in done.stderr
    modules = "pandas captum cleanlab optuna ray nicegui onnx fastapi mlflow statsmodels pytest"
    code = f"import importlib.util as i; print(*filter(i.find_spec, {modules.split()}))"
    assert run(command.parent / "python", "-c", code, folder=tmp_path).split() == []


def test_the_wheel_with_its_extra_exports(dist: Path, trained: Path, tmp_path: Path) -> None:
    command = install(dist, "export")
    run(command, "export", trained, folder=tmp_path)
    assert {"model.onnx", "certificate.json"} <= {f.name for f in trained.glob("export/onnx/*")}
