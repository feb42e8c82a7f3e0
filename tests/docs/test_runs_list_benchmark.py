"""benchmarks/runs_list.py measures every item of the list of runs."""

import importlib
import sys
from pathlib import Path

import pytest

from cifarlab.cli import main

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_all_items_are_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Importing it once hid that its last item failed, so that it wrote no result."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    runs_list, made_runs = map(importlib.import_module, ("runs_list", "_made_runs"))
    folder = made_runs.make_runs(tmp_path / "runs", 10)
    clock, worked = runs_list.run(folder, runs_list.COMMANDS["list"])
    assert 0 < worked < 60 and clock > 0

    def run_here(folder: Path, words: list[str]) -> tuple[float, float]:
        monkeypatch.setattr(sys, "argv", ["cifarlab", "runs", *words, "--folder", str(folder)])
        with pytest.raises(SystemExit) as stop:
            main()
        assert not stop.value.code, capsys.readouterr().err
        return 1.0, 2.0

    monkeypatch.setattr(runs_list, "run", run_here)
    items = runs_list.measure(folder)
    assert all(len(items[name]) == runs_list.REPEATS for name in runs_list.COMMANDS)
    assert {"first list", "list after a run ended", "count of 10 openings"} < items.keys()
