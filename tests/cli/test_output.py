"""An output that fails: what was begun is finished and written, and two lines say what was lost."""

import errno
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from PIL import Image

from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.output import Output
from cifarlab.training.train import train


@pytest.fixture
def full(cifarlab: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    """A function: a command whose standard output is a full disk."""

    def run(*words: object) -> Any:
        with Path("/dev/full").open("w", encoding="utf-8") as output:
            monkeypatch.setattr(sys, "stdout", output)
            return cifarlab(*words)

    return run


def require_error_lines(output: Any) -> None:
    assert output.code == 1, output
    error_lines = [line for line in output.err.splitlines() if not line.startswith("next: ")]
    assert error_lines == [
        "failed: can't write the output: No space left on device",
        "  what it printed is lost; files that it writes are there",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["check"],
        ["recipes"],
        ["recipes", "show", "quickstart"],
        ["recipes", "keys"],
        ["recipes", "lint", "quickstart"],
        ["recipes", "draw", "quickstart"],
        ["studies"],
        ["searches"],
    ],
)
def test_commands_that_only_print(full: Command, words: list[str]) -> None:
    require_error_lines(full(*words))


def test_commands_that_look_at_a_run(full: Command, copied: RunFolder) -> None:
    Image.new("L", (8, 8)).save(copied.path / "image.png")
    require_error_lines(full("predict", copied.path, copied.path / "image.png"))
    require_error_lines(full("evaluate", copied.path))
    require_error_lines(full("compare", copied.path))
    require_error_lines(full("audit", copied.path, "--folds", "0"))


def test_a_training_is_not_lost(
    full: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cifarlab.report.html.FIGURES", {})
    short = ("training.duration=2 epochs", "model.depths=[1]", "model.channels=[4]")
    require_error_lines(full("train", "quickstart", *short, "model.strides=[1]", "--run", "mine"))
    folder = RunFolder(tmp_path / "mine")
    assert folder.is_finished and len(folder.metrics.read()) == 2
    assert (folder.path / "report" / "report.html").exists()


def test_a_training_from_python_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Recipe]
) -> None:
    folder = RunFolder(tmp_path / "mine")
    with Path("/dev/full").open("w", encoding="utf-8", buffering=1) as output:
        monkeypatch.setattr(sys, "stdout", output)
        train(tiny({"training.duration": "2 epochs"}), folder)
    assert folder.is_finished and len(folder.metrics.read()) == 2


def test_an_error_is_printed_though_the_output_fails(full: Command) -> None:
    output = full("train", "quickstat")
    assert output.code == 2 and output.err.startswith("error: no recipe is called 'quickstat'")


class Broken(io.StringIO):
    """A stream whose reader left."""

    def write(self, _: str) -> int:
        raise OSError(errno.EPIPE, "Broken pipe")


def test_a_reader_that_leaves_is_no_news(
    cifarlab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken())
    output = cifarlab("studies")
    assert (output.code, output.err) == (1, "")


def test_no_output_at_all(cifarlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert cifarlab("recipes", "list").code == 0


def test_what_an_encoding_lacks_is_an_escape() -> None:
    raw = io.BytesIO()
    stream = Output(io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("95 % \u2013 caf\u00e9 \udcff\n")
    stream.flush()
    assert raw.getvalue() == b"95 % \\u2013 caf\\xe9 \\udcff\n"


def test_an_os_error_that_nobody_foresaw_is_two_lines(
    cifarlab: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error", "somewhere")

    monkeypatch.setattr("cifarlab.cli.machine.findings", broken)
    output = cifarlab("check")
    assert output.code == 1 and len(output.err.splitlines()) == 2
    assert output.err.startswith("failed: [Errno 5] Input/output error: 'somewhere'")
