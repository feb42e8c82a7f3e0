"""Run folders of format 1, kept as an earlier cifarlab wrote them, are read by this one.

``finished`` and ``unfinished`` are of one recipe, with averaged weights and the best epoch's; the
latter was left after 2 of 4 epochs. What is measured may differ in the last bits between
processors.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cifarlab as lab
from cifarlab.data.opening import open_data
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.train import train

KEPT = Path(__file__).parent / "format-1"


@pytest.fixture
def finished(tmp_path: Path) -> RunFolder:
    return RunFolder(shutil.copytree(KEPT / "finished", tmp_path / "finished"))


@pytest.fixture
def stored() -> dict[str, Any]:
    return json.loads((KEPT / "finished" / "result.json").read_text())


@pytest.mark.parametrize("name", ["finished", "unfinished"])
def test_they_are_of_format_1(name: str) -> None:
    assert json.loads((KEPT / name / "format.json").read_text()) == {"format": 1}


def test_its_result_and_history_are_read(finished: RunFolder, stored: dict[str, Any]) -> None:
    run = lab.load_run(finished.path)
    assert run.accuracy == stored["test"]["metrics"]["accuracy"]
    assert len(run.history) == 4 and run.history["val.loss"].notna().all()


def test_it_is_evaluated_as_it_was_measured(finished: RunFolder, stored: dict[str, Any]) -> None:
    evaluation = lab.load_run(finished.path).evaluate("val")
    metrics = stored["val"]["metrics"]
    assert evaluation.metrics == pytest.approx(metrics, abs=1e-3)
    assert evaluation.data == "digits"


def test_it_predicts(finished: RunFolder) -> None:
    part = open_data(finished.recipe().data).validation
    predicted = lab.load_run(finished.path).predict(part.images[part.indices])
    right = predicted.to_numpy().argmax(1) == part.labels[part.indices]
    assert np.mean(right) == pytest.approx(
        finished.result()["val"]["metrics"]["accuracy"], abs=0.02
    )


def test_it_is_resumed_to_the_end_of_the_undisturbed_run(
    finished: RunFolder, tmp_path: Path
) -> None:
    folder = RunFolder(shutil.copytree(KEPT / "unfinished", tmp_path / "unfinished"))
    train(folder.recipe(), folder, resume=True)
    lines, expected = list(folder.metrics.read()), list(finished.metrics.read())
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    for split in ("train", "val"):
        losses = [line[split]["loss"] for line in lines]
        assert losses == pytest.approx([line[split]["loss"] for line in expected], rel=1e-3)
