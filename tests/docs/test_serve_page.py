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
from cifarlab_serve.batching import LAST_PASS_SECONDS
from cifarlab_serve.decoding import FEW_PIXELS
from cifarlab_serve.images import MAX_SCANS
from cifarlab_serve.settings import Limits

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def commands(program: str) -> list[list[str]]:
    """The lines that show a program."""
    lines = re.findall(rf"^({program} .*)$", PAGE, re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_its_commands_work(finished: RunFolder, tmp_path: Path) -> None:
    export_run(finished.path, out=tmp_path / "runs" / "digits" / "export" / "onnx")
    Image.new("RGB", (48, 40), "red").save(tmp_path / "photo.png")
    [[_, *words]] = commands("cifarlab serve")
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
        f"| {limits.body_bytes // 2**20} MiB, {limits.images} images, "
        f"{limits.held_pixels / 1e6:.1f} million pixels |",
        f"| {limits.pixels / 1e6:.1f} million pixels (`--pixels`), {MAX_SCANS} passes |",
        f"| images that wait: {limits.queue:,} (`--queue`); requests: {limits.requests}; ",
        f"as it is held twice: {limits.held_bytes // 2**20} MiB; ",
        f"or wait for it: {limits.held_pixels / 1e6:.1f} million; ",
        f"connections: {limits.connections} |",
        f"no more than {FEW_PIXELS:,} pixels are decoded at once",
        f"and two seconds, {2 * limits.timeout + 1 + LAST_PASS_SECONDS:g} s",
        f"up to `--batch` images ({limits.batch})",
        f"no longer than {limits.wait * 1000:g} ms",
    ):
        assert text in PAGE


def test_its_figures_are_the_measured_ones() -> None:
    [file] = (ROOT / "benchmarks" / "results").glob("serve_cpu_*.json")
    result = json.loads(file.read_text(encoding="utf-8"))
    for name, ways in result["networks"].items():
        for n in (1, 8, 64):
            cells = [
                f"{way['images_per_s']:,.0f}; {way['p50_ms']:.1f}; {way['p99_ms']:.1f}; "
                f"{way['cpu_ms_per_image']:.2f}"
                for way in (ways[f"{side}, {n} clients"] for side in ("ours", "plain"))
            ]
            assert f"| `{name}` | {n} | {cells[0]} | {cells[1]} |" in PAGE
    memory, full = result["memory_mib"], result["full_queue"]
    assert f"before {memory['before']:.1f} MiB, after {memory['after']:.1f}." in PAGE
    assert f"before the answer, memory was {memory['after_200_left']:.1f} MiB" in PAGE
    assert f"got {result['answers_after_200_left']['200']} answers" in PAGE
    assert set(result["answers_after_200_left"]) == {"200"}
    assert sum(result["malformed"].values()) == 1000
    assert set(result["malformed"]) <= {"400", "403", "404", "405", "413", "422", "431"}
    statuses = full["statuses"]
    assert f"{statuses['200']:,} answers and {statuses['503']:,} times 503" in PAGE
    assert set(statuses) == {"200", "503"} and f"at {full['memory_mib']:.1f} MiB" in PAGE
