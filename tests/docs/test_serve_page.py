"""The page about the server: its commands work, its figures are the program's and measured."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from PIL import Image

from cifarlab.exporting.export_run import export_run
from cifarlab.run_folder.folder import RunFolder
from cifarlab_serve.limits import Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def commands(program: str) -> list[list[str]]:
    """The lines that show a program."""
    lines = re.findall(rf"^    ({program} .*)$", PAGE, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_its_commands_work(finished: RunFolder, tmp_path: Path) -> None:
    export_run(finished.path, out=tmp_path / "runs" / "digits" / "export" / "onnx")
    Image.new("RGB", (48, 40), "red").save(tmp_path / "photo.png")
    [[_, *words]] = commands("cifarlab")
    command = [sys.executable, "-u", "-m", "cifarlab", *words, "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            [port] = re.findall(r":(\d+)/predict", server.stdout.readline())
            counts = []
            for words in commands("curl"):
                words = [word.replace("8643", port) for word in words]
                answer = subprocess.run(words, cwd=tmp_path, capture_output=True, check=True)
                counts.append(len(json.loads(answer.stdout)["predictions"]))
            assert counts == [1, 2]
        finally:
            server.terminate()


def test_its_bounds_are_the_program_s() -> None:
    limits = Limits()
    for text in (
        f"| {limits.timeout:g} s each |",
        f"| {limits.body_bytes // 2**20} MiB, {limits.images} images |",
        f"| {limits.pixels / 1e6:.1f} million pixels |",
        f"| {limits.queue:,}; {limits.requests}; {limits.held_bytes // 2**20} MiB |",
        f"up to `--batch` images ({limits.batch})",
        f"no longer than {limits.wait * 1000:g} ms",
    ):
        assert text in PAGE
