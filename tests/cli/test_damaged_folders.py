"""Whatever lies in the folder of a run: two lines that name it, never a traceback."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from damage import DAMAGE, damage_in_turn, invalid_values
from made_full_run import make_full_run

from cifarlab.dashboard.index import Index
from cifarlab.run_folder.folder import RunFolder

ALWAYS = ("report", "compare")
READERS = {  # which other commands read a file
    "format.json": ("evaluate", "predict", "explain", "audit", "resume", "extend"),
    "recipe.yaml": ("evaluate", "predict", "explain", "audit", "resume", "extend"),
    "provenance.json": ("evaluate", "extend"),
    "metrics.jsonl": (),
    "tensor_stats.jsonl": (),
    "result.json": ("predict", "extend"),
    "evaluation/val.json": (),
    "audit/findings.json": (),
    "audit/images.safetensors": (),
    "predictions/val.safetensors": (),
    "checkpoints/last.safetensors": ("predict", "resume"),
    "checkpoints/last.state.safetensors": ("resume",),
    "explained/explained.json": (),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures."""
    monkeypatch.setattr("cifarlab.report.html.FIGURES", {})


@pytest.fixture
def run_command(cifarlab: Command, quick: None) -> Callable[[str, Path], None]:
    """A function: a command that reads the run in a folder ends well, or in two lines."""

    def run(command: str, path: Path) -> None:
        words: list[Any] = [command, path]
        if command in ("predict", "explain"):
            words.append(path / "none.png")
        elif command == "audit":
            words += ["--folds", "0"]
        elif command in ("resume", "extend"):
            words = ["train", path / "recipe.yaml", "--run", path, "--resume"]
            if command == "extend":
                words[-1:] = ["--extend", "1 epoch", "--schedule", "none"]
        output = cifarlab(*words)
        assert output.code == 0 or len(output.err.splitlines()) == 2, (words, output)

    return run


@pytest.mark.parametrize("file", READERS)
def test_a_damaged_file_of_a_run(
    copied: RunFolder, run_command: Callable[[str, Path], None], file: str
) -> None:
    if "resume" in READERS[file]:
        copied.result_file.unlink()
    path = copied.path / file
    path.parent.mkdir(exist_ok=True)
    for _ in damage_in_turn(path, DAMAGE.values()):
        for command in (*ALWAYS, *READERS[file]):
            run_command(command, copied.path)
        Index(copied.path.parent).listing()


@pytest.fixture
def full_run(tmp_path: Path) -> Path:
    """A run with everything that a report shows."""
    path = make_full_run(tmp_path / "runs" / "made")
    layer = {"low": -0.3, "high": 0.4, "counts": [1, 5, 2], "grad_norm": 0.1}
    active = {"low": 0, "high": 2.5, "counts": [9, 0, 1], "dead": [3, 64]}
    for epoch in range(3):
        line = {"epoch": epoch, "images": 25, "grad_norm": 0.8}
        layers = {"weights": {"stem": layer}, "activations": {"act": active}}
        RunFolder(path).tensor_stats.append(line | layers)
    return path


@pytest.mark.parametrize(
    "file",
    [
        "format.json",
        "provenance.json",
        "result.json",
        "metrics.jsonl",
        "tensor_stats.jsonl",
        "evaluation/test.json",
        "audit/findings.json",
    ],
)
def test_values_of_other_types(
    full_run: Path, run_command: Callable[[str, Path], None], file: str
) -> None:
    path = full_run / file
    for _ in damage_in_turn(path, invalid_values(path)):
        for command in ALWAYS:
            run_command(command, full_run)
        Index(full_run.parent).listing()
