"""What a person sees: bars on a terminal, and a run that is complete without its report."""

import os
import pty
import subprocess
import sys
from pathlib import Path


def on_a_terminal(*words: str, folder: Path) -> tuple[int, str]:
    """Exit code and output of the command line, started on a pseudo-terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "cifarlab", *words]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder, env=environment
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 4096):
            output += chunk
    except OSError:  # Linux: the other end was closed
        pass
    os.close(ours)
    return process.wait(), output.decode()


def test_training_on_a_terminal(tmp_path: Path) -> None:
    code, output = on_a_terminal(
        "train", "quickstart", "training.duration=2 epochs", "--run", "a", folder=tmp_path
    )
    assert code == 0, output
    assert "epoch   2/2" in output
    assert "test accuracy" in output
    assert "\x1b[" in output  # a bar was drawn
    assert (tmp_path / "a" / "report" / "report.html").exists()
