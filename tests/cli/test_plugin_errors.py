"""What a user's own code raises is two lines under every command; what ours raises is not."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Command, Output
from PIL import Image

import cifarlab as lab
from cifarlab.experiments.search.samplers import TrialSamplerConfig
from cifarlab.experiments.search.schedulers import TrialSchedulerConfig

FILE = Path(__file__).parents[1] / "moody_parts.py"
SHORT = {"training.duration": "1 epoch", "training.batch_size": 512}
SPACE = {"optimizer.lr": {"kind": "loguniform", "low": 1e-3, "high": 1e-1}}
SEARCH: dict[str, Any] = {
    "plugins": [str(FILE)],
    "recipe": "quickstart",
    "overrides": {"training.batch_size": 512},
    "max_epochs": "2 epochs",
    "trials": 1,
    "space": SPACE,
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the moody network."""
    path = tmp_path_factory.mktemp("runs") / "moody"
    changes = {**SHORT, "model.kind": "moody"}
    lab.train("quickstart", changes, plugins=[str(FILE)], run=path, callbacks=())
    return path


def is_two_lines(output: Output) -> bool:
    """Whether the command ended by an error of two lines that names the line of the part."""
    line = FILE.read_text().splitlines().index('        raise KeyError("mine")') + 1
    first, second = output.err.splitlines()[-2:]
    return (
        first.startswith("error: a part of your own fails in ")
        and "moody_parts" in first
        and first.endswith(f", line {line}: KeyError: 'mine'")
        and (second, output.code) == ("  mend it there", 2)
        and "Traceback" not in output.err
    )


@pytest.mark.parametrize("command", ["evaluate", "explain", "predict"])
def test_a_network_that_fails_after_training(
    cifarlab: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    image = tmp_path / "grey.png"
    Image.new("L", (8, 8)).save(image)
    monkeypatch.setenv("MOODY", "network")
    output = cifarlab(command, run, *([image] if command == "predict" else []))
    assert is_two_lines(output), output.err


@pytest.mark.parametrize("name", ["sampler", "scheduler"])
def test_a_part_of_a_search_that_fails(
    cifarlab: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Path("search.yaml").write_text(yaml.safe_dump({**SEARCH, name: {"kind": "moody"}}))
    monkeypatch.setenv("MOODY", name)
    output = cifarlab("search", "search.yaml", "--plugin", FILE)
    assert is_two_lines(output), output.err


def test_an_error_in_our_code_stays_a_traceback(
    cifarlab: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("ours")

    monkeypatch.setattr("cifarlab.evaluation.run_evaluation.measure", fail)
    with pytest.raises(KeyError, match="ours"):
        cifarlab("evaluate", run)


def test_runs_are_compared_by_an_own_metric(cifarlab: Command, run: Path) -> None:
    plain = run.with_name("plain")
    lab.train("quickstart", SHORT, run=plain, callbacks=())
    assert cifarlab("compare", plain, "--metric", "moody").code == 2  # nobody brings it
    output = cifarlab("compare", plain, "--metric", "moody", "--plugin", FILE)
    assert output.code == 0 and "Test moody on digits" in " ".join(output.out.split())
    assert f"--metric moody --out comparison --plugin {FILE}" in output.out
    assert cifarlab("compare", run, plain, "--metric", "moody").code == 0  # a run brings it


@pytest.mark.parametrize("name", ["sampler", "scheduler"])
def test_the_help_of_a_search_lists_all_kinds(cifarlab: Command, name: str) -> None:
    families = {"sampler": TrialSamplerConfig, "scheduler": TrialSchedulerConfig}
    kinds = ", ".join(sorted(families[name].kinds(), key=lambda kind: kind == "none"))
    assert f"a kind: {kinds}" in cifarlab("search", "--help").out
