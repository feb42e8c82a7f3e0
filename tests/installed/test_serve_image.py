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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from environments import link, required, requirements
from PIL import Image

import cifarlab
from cifarlab.run_folder.folder import RunFolder

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "serve" / "Dockerfile").read_text(encoding="utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """What a Dockerfile says, in its order: names and their arguments."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def instruction(name: str) -> str:
    """The arguments of what serve/Dockerfile says once."""
    [arguments] = [rest for each, rest in instructions(TEXT) if each == name]
    return arguments


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel."""
    archive = zipfile.ZipFile(wheel)
    return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist, and of the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    command = (sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT / "serve")
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def context(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that docker is given: what the commands at the Dockerfile's head make."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "runs").mkdir()
    (folder / "runs" / "digits").symlink_to(finished.path)
    (folder / "serve").symlink_to(ROOT / "serve")
    commands = re.findall("^#   (.*)$", TEXT, re.MULTILINE)
    ours = [words for words in map(str.split, commands) if words[0] in ("cifarlab", "python")]
    for program, *words in ours:
        offline = ["--no-isolation"] if "build" in words else []
        command = [sys.executable, *(("-m", "cifarlab") if program == "cifarlab" else ())]
        subprocess.run([*command, *words, *offline], cwd=folder, check=True, capture_output=True)
    [docker] = [words for words in map(str.split, commands) if words[:2] == ["docker", "build"]]
    assert len(ours) == 2 and docker[2:4] == ["--file", "serve/Dockerfile"]
    return folder / docker[-1]


def build(text: str, context: Path, root: Path) -> dict[str, str]:
    """Do what a Dockerfile says, in a folder instead of /opt; return the environment of its steps.

    Its Python has pip and the distributions that the wheel requires, and nothing else.
    """
    venv.create(root / "python", with_pip=False, symlinks=True)
    [packages] = (root / "python").glob("lib/python*/site-packages")
    [wheel] = context.glob("*.whl")
    for name in requirements(["pip", *required(wheel)]):
        link(name, packages)
    kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
    environment = kept | {
        "PATH": f"{root / 'python' / 'bin'}:/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    for name, arguments in instructions(text):
        arguments = arguments.replace("/opt", str(root))
        if name == "COPY":
            copy(context, *arguments.split())
        elif name == "RUN":
            command = ["sh", "-c", arguments]
            subprocess.run(command, env=environment, cwd=root, capture_output=True, check=True)
        else:
            assert name in ("FROM", "USER", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT")
    return environment


def copy(context: Path, source: str, target: str) -> None:
    """Copy as docker does: what a folder has, or files, into a folder."""
    paths = list(context.glob(source.rstrip("/")))
    assert paths and target.endswith("/")
    for path in paths:
        if path.is_dir():
            shutil.copytree(path, target)
        else:
            Path(target).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


@pytest.fixture(scope="module")
def image(context: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """What the image would hold, and the environment of its steps."""
    root = tmp_path_factory.mktemp("image")
    return root, build(TEXT, context, root)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("COPY cifarlab_serve-", "COPY cifarlab-"),
        ("RUN python -m pip install --no-cache-dir /opt/wheels/cifarlab_serve-*.whl\n", ""),
        ("/opt/wheels/cifarlab_serve-*.whl\nCOPY model", "/opt/wheels/serve-*.whl\nCOPY model"),
        ("COPY model/ /opt/model/", "COPY model/ /opt/network/"),
        ("COPY model/ /opt/model/", "COPY cifarlab_serve-*.whl /opt/model/"),
        ("cifarlab-serve /opt/model --check", "cifarlab /opt/model --check"),
        ("USER ", "USE "),
    ],
)
def test_a_wrong_step_fails(right: str, wrong: str, context: Path, tmp_path: Path) -> None:
    assert right in TEXT
    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        build(TEXT.replace(right, wrong), context, tmp_path)


@contextmanager
def kill_at_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End the process, whatever fails meanwhile."""
    try:
        yield
    finally:
        process.kill()


def test_the_image_serves_without_torch_and_cifarlab(
    image: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    root, environment = image
    python = root / "python" / "bin" / "python"
    for name in ("torch", "cifarlab", "scipy", "onnx"):
        done = subprocess.run([python, "-c", f"import {name}"], env=environment, cwd=root)
        assert done.returncode == 1
    program, *options = json.loads(instruction("ENTRYPOINT").replace("/opt", str(root)))
    [variable] = re.findall(r"--env (\w+)", TEXT)
    command = [shutil.which(program, path=environment["PATH"]), *options, "--port", "0"]
    refused = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert refused.returncode == 2 and "needs a token" in refused.stderr
    with (
        subprocess.Popen(
            command, env=environment | {variable: "a token"}, cwd=root, stdout=subprocess.PIPE
        ) as server,
        kill_at_end(server),
    ):
        assert server.stdout
        [port] = re.findall(rb":(\d+)/predict", server.stdout.readline())
        address = f"http://127.0.0.1:{int(port)}"
        probe = instruction("HEALTHCHECK").replace("8643", port.decode()).removeprefix("CMD ")
        subprocess.run(json.loads(probe), env=environment, check=True)
        content = io.BytesIO()
        Image.new("L", (8, 8)).save(content, "PNG")
        headers = {"authorization": "Bearer a token"}
        form = (
            b'--x\r\ncontent-disposition: form-data; name="a"; filename="a.png"\r\n\r\n%s\r\n--x--'
        )
        for body, kind in (
            (content.getvalue(), "image/png"),
            (form % content.getvalue(), "multipart/form-data; boundary=x"),
        ):
            request = Request(f"{address}/predict", body, headers | {"content-type": kind})
            answer = json.load(urlopen(request, timeout=20))
            assert len(answer["predictions"][0]["probabilities"]) == 10
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


def test_the_wheel_has_the_version_and_the_libraries_of_cifarlab(dist: Path) -> None:
    [wheel], [sdist] = dist.glob("*.whl"), dist.glob("*.tar.gz")
    assert wheel.name.startswith(f"cifarlab_serve-{cifarlab.__version__}-py3")
    assert sdist.name == f"cifarlab_serve-{cifarlab.__version__}.tar.gz"
    files = {n: c for n, c in contents(wheel).items() if not n.split("/")[0].endswith("-info")}
    assert files == {
        f"cifarlab_serve/{path.name}": path.read_bytes()
        for path in (ROOT / "cifarlab_serve").glob("*.py")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    inputs = [name for name in project["dependencies"] if name.startswith(("numpy", "pillow"))]
    assert {*required(wheel)} == {*inputs, *project["optional-dependencies"]["serve"]}


def test_a_wheel_is_the_same_from_the_repository_and_from_the_sdist(
    dist: Path, context: Path
) -> None:
    [direct], [from_sdist] = context.glob("*.whl"), dist.glob("*.whl")
    assert contents(direct) == contents(from_sdist)


def test_nothing_in_the_repository_is_a_link() -> None:
    """Links are files of text on Windows, and lead nowhere in an sdist."""
    command = ("git", "ls-files", "--stage")
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert not [line for line in lines.splitlines() if line.startswith("120000")]
