"""Running the command line inside the test process: what it prints and how it exits."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest

from cifarlab.cli import main


class Output(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Output]


def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """A function of the words after ``cifarlab``."""

    def run(*words: object) -> Output:
        monkeypatch.setattr(sys, "argv", ["cifarlab", *map(str, words)])
        code: object = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return Output(code, out, err)

    return run
