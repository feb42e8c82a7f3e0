"""All of examples/ is executed: plug-ins by their own commands, scripts; so is the notebook."""

import importlib
import json
import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cifarlab.cli import app

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES.parent / "docs" / "guides" / "data-to-verdict.ipynb"
PLUGINS = ["own_network.py", "own_normalization.py", "own_optimizer_and_loss.py"]
SHORT = ["training.duration=4 steps", "data.source=digits"]


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_nothing_is_left_out() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.is_file()}
    assert names == {*PLUGINS, "own_data.py", "automatic_loop.py"}


@pytest.mark.parametrize("name", PLUGINS)
def test_a_plugin_trains_by_the_command_that_it_shows(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8").replace("\\\n", " ")
    command = re.search(r"^cifarlab .*$", text, re.MULTILINE)
    assert command
    words = shlex.split(command[0].replace("examples/", f"{EXAMPLES}/"))
    outcome = CliRunner().invoke(app, [*words[1:], *SHORT])
    assert outcome.exit_code == 0, outcome.output


def test_arrays_are_learned(capsys: pytest.CaptureFixture[str]) -> None:
    run = runpy.run_path(str(EXAMPLES / "own_data.py"))["run"]
    assert run.accuracy > 0.9
    assert "<TrainedRun " in capsys.readouterr().out


def test_a_loop_keeps_more_and_sees_more_without_the_judge(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["automatic_loop.py", "--short"])
    runpy.run_path(str(EXAMPLES / "automatic_loop.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert "refused   {'seed': 1}" in out and "accepted  {'optimizer.lr': 0.1}" in out
    line = (
        r"^{}: kept (\d) of 4 changes: (.*)\n  saw \+([\d.]+) points; on 2 fresh seeds \+([\d.]+)"
    )
    without, judged = (
        re.search(line.format(name), out, re.MULTILINE)
        for name in ("without the judge", "with the judge")
    )
    assert without and judged and judged[2] == "[{'optimizer.lr': 0.1}]"
    assert int(without[1]) > 1 and "{'optimizer.lr': 0.1}" in without[2]
    assert float(without[3]) > float(without[4])


def test_the_loop_without_the_judge_keeps_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty changes that change nothing of an accuracy, which is normal with 1 point."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    loop = importlib.import_module("automatic_loop")
    draws = np.random.default_rng(0)
    monkeypatch.setattr(loop, "accuracy", lambda recipe: draws.normal(0.9, 0.01))
    start = loop.lab.find_recipe("quickstart", loop.START)
    recipe, kept, gain = loop.keep_what_scores_higher(start, loop.CHANGES)
    assert len(loop.CHANGES) == 20 and len(kept) > 1 and gain > 0.01
    assert recipe != start


def test_the_notebook_runs_and_shows_what_it_made() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for cell in cells:
        source = "".join(line for line in cell["source"] if not line.startswith("%"))
        exec(compile(source, NOTEBOOK.name, "exec"), names)
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} == {"execute_result"}
    assert sum("image/png" in output["data"] for output in outputs) == 2
    assert set(names["study"].verdicts) == {"usual", "low"}
