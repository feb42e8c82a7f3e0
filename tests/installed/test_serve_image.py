"""The steps of serve/Dockerfile, where nothing is installed but what cifarlab-serve asks for."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from packaging.requirements import Requirement
from PIL import Image

import cifarlab
from cifarlab.exporting.export_run import export_run
from cifarlab.run_folder.folder import RunFolder

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "serve" / "Dockerfile"


def requirements(names: list[str]) -> set[str]:
    """The distributions of this environment that these need, and they themselves."""
    needed: set[str] = set()
    while names:
        requirement = Requirement(names.pop())
        if requirement.name.lower() in needed:
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed.add(requirement.name.lower())
            names += metadata.requires(requirement.name) or []
    return needed


def link(distribution: str, packages: Path) -> None:
    """Let an environment have a distribution of this one."""
    for file in metadata.files(distribution) or []:
        top, target = file.parts[0], packages / file.parts[0]
        if top not in ("..", "__pycache__") and not target.exists():
            target.symlink_to(Path(str(metadata.distribution(distribution).locate_file(top))))


def steps(name: str) -> list[str]:
    """What the Dockerfile has of an instruction."""
    return re.findall(rf"^{name} (.*)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)


def required(context: Path) -> list[str]:
    """What the wheel requires."""
    [wheel] = context.glob("*.whl")
    folder = wheel.name.partition("-py3")[0]
    content = zipfile.ZipFile(wheel).read(f"{folder}.dist-info/METADATA").decode()
    return re.findall(r"^Requires-Dist: (.*)$", content, re.MULTILINE)


@pytest.fixture(scope="module")
def context(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that docker would be given: the wheel, built from the sdist, and a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT / "serve")
    subprocess.run(command, check=True, capture_output=True)
    export_run(finished.path, out=folder / "model")
    return folder


@pytest.fixture(scope="module")
def image(context: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """What the image would hold, in a folder instead of /opt, and the environment of its steps."""
    root = tmp_path_factory.mktemp("image")
    venv.create(root / "python", with_pip=False, symlinks=True)
    [packages] = (root / "python").glob("lib/python*/site-packages")
    for name in requirements(["pip", *required(context)]):
        link(name, packages)
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    environment = kept | {
        "PATH": f"{root / 'python' / 'bin'}:/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_NO_DEPS": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for source, target in (copy.split() for copy in steps("COPY")):
        folder = Path(target.replace("/opt", str(root)))
        for path in context.glob(source.rstrip("/")):
            if path.is_dir():
                shutil.copytree(path, folder)
            else:
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder)
    for step in steps("RUN"):
        command = ["sh", "-c", step.replace("/opt", str(root))]
        done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return root, environment


def test_the_image_serves_without_torch_and_cifarlab(
    image: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    root, environment = image
    python = root / "python" / "bin" / "python"
    for name in ("torch", "cifarlab", "scipy", "onnx"):
        done = subprocess.run([python, "-c", f"import {name}"], env=environment, cwd=root)
        assert done.returncode == 1
    program, *options = json.loads(steps("ENTRYPOINT")[0].replace("/opt", str(root)))
    [variable] = re.findall(r"--env (\w+)", DOCKERFILE.read_text(encoding="utf-8"))
    command = [shutil.which(program, path=environment["PATH"]), *options, "--port", "0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and "needs a token" in refused.stderr
    with subprocess.Popen(
        command, env=environment | {variable: "a token"}, cwd=root, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout
        [port] = re.findall(rb":(\d+)/predict", server.stdout.readline())
        address = f"http://127.0.0.1:{int(port)}"
        probe = json.loads(steps("HEALTHCHECK CMD")[0].replace("8643", str(int(port))))
        subprocess.run(probe, env=environment, check=True)
        content = io.BytesIO()
        Image.new("L", (8, 8)).save(content, "PNG")
        headers = {"authorization": "Bearer a token"}
        answer = urlopen(Request(f"{address}/predict", content.getvalue(), headers), timeout=20)
        assert len(json.load(answer)["predictions"][0]["probabilities"]) == 10
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == -signal.SIGTERM


def test_the_wheel_has_the_version_and_the_libraries_of_cifarlab(context: Path) -> None:
    [wheel], [sdist] = context.glob("*.whl"), context.glob("*.tar.gz")
    assert wheel.name.startswith(f"cifarlab_serve-{cifarlab.__version__}-py3")
    assert sdist.name == f"cifarlab_serve-{cifarlab.__version__}.tar.gz"
    names = {n for n in zipfile.ZipFile(wheel).namelist() if not n.split("/")[0].endswith("-info")}
    assert names == {
        f"cifarlab_serve/{path.name}" for path in (ROOT / "cifarlab_serve").glob("*.py")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    ours = {*project["dependencies"], *project["optional-dependencies"]["serve"]}
    assert set(required(context)) <= ours
