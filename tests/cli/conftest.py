"""The command line as a fixture, started in an empty folder."""

from pathlib import Path

import pytest
from command_line import Command, command


@pytest.fixture
def cifarlab(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    monkeypatch.chdir(tmp_path)
    return command(monkeypatch, capsys)
