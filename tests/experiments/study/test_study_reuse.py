"""Which finished runs a study takes as they are: whole ones, of the images that are there today."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import FinishedStudy, run_study
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import new_folder
from cifarlab.system.errors import Interrupted, UserError
from cifarlab.system.signals import StopRequest
from cifarlab.training.train import train

FAST: dict[str, Any] = {
    "training.duration": "4 epochs",
    "training.precision": "float32",
    "training.batch_size": 256,
    "model.stem_width": 4,
    "model.channels": [4, 8, 8],
}
DIGITS = Study(
    name="one",
    n_seeds=1,
    overrides=FAST,
    rows=(StudyRow(name="plain", recipe="quickstart"),),
)


def run_made(runs: Path, study: Study = DIGITS, **other: Any) -> tuple[FinishedStudy, str]:
    """The study, and the lines that it logged."""
    lines: list[str] = []
    finished_study = run_study(study, runs=runs, log=lines.append, **other)
    return finished_study, "\n".join(lines)


def only_run(finished_study: FinishedStudy) -> RunFolder:
    """The only run of a study."""
    (run,) = finished_study.folder.content()["runs"]
    return RunFolder(finished_study.folder.path / run["run"])


@pytest.fixture
def shades(tmp_path: Path) -> Path:
    """A folder of two classes of 60 images each."""
    draw = np.random.default_rng(0)
    for name, low in {"dark": 0, "light": 100}.items():
        (tmp_path / "shades" / name).mkdir(parents=True)
        for number in range(60):
            pixels = draw.integers(low, low + 150, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shades" / name / f"{number:02d}.png")
    return tmp_path / "shades"


def remove_a_third(shades: Path) -> None:
    for file in shades.glob("*/*[036].png"):
        file.unlink()


def rename_class(shades: Path) -> None:
    (shades / "dark").rename(shades / "shadow")


@pytest.mark.parametrize("change_images", [remove_a_third, rename_class])
def test_runs_on_images_that_changed_are_trained_anew(
    shades: Path, tmp_path: Path, change_images: Any
) -> None:
    """Same path, so the recipe and its fingerprint are the same."""
    shutil.copytree(shades, tmp_path / "kept")
    runs, data = tmp_path / "runs", str(shades)
    first, _ = run_made(runs, data=data)
    old = only_run(first)
    change_images(shades)
    second, lines = run_made(runs, data=data)
    assert "1 runs to train, 0 are there" in lines and "the images are others today" in lines
    new = only_run(second)
    fingerprint = new.provenance()["data"]["fingerprint"]
    assert old.path != new.path and old.provenance()["data"]["fingerprint"] != fingerprint
    (line,) = second.comparison.rows
    assert line.values == {0: new.result()["test"]["accuracy"]}
    _, lines = run_made(runs, data=data)
    assert "0 runs to train, 1 are there" in lines

    shutil.rmtree(shades)
    shutil.copytree(tmp_path / "kept", shades)
    back, lines = run_made(runs, data=data)
    assert "0 runs to train, 1 are there" in lines
    assert back.comparison == first.comparison


def test_an_unfinished_run_on_images_that_changed_does_not_go_on(
    shades: Path, tmp_path: Path, signal_after: Any
) -> None:
    """It was recorded as failed, and again at every later call."""
    recipe = change(find("quickstart"), {**FAST, "data.source": str(shades)})
    begun = tmp_path / "runs" / "studies" / f"one-on-{shades.name}"
    with pytest.raises(Interrupted):
        train(recipe, new_folder(recipe, begun), callbacks=[signal_after(1)])
    remove_a_third(shades)
    finished_study, lines = run_made(tmp_path / "runs", data=str(shades))
    assert (
        "1 runs to train" in lines
        and finished_study.folder.content()["runs"][0]["state"] == "finished"
    )


def test_runs_whose_images_are_gone_are_still_compared(shades: Path, tmp_path: Path) -> None:
    runs, data = tmp_path / "runs", str(shades)
    first, _ = run_made(runs, data=data)
    shades.rename(tmp_path / "elsewhere")
    second, lines = run_made(runs, data=data)
    assert "finished runs are taken unseen, since there is no data source" in lines
    assert second.comparison == first.comparison


@pytest.mark.parametrize("stop_reason", ["stopped", "max_time"])
def test_a_run_that_something_ended_early_elsewhere_is_not_taken(
    tmp_path: Path, stop_reason: str
) -> None:
    """A trial that ASHA stopped after 1 of 4 epochs once stood in a study's row."""
    trial = RunFolder(tmp_path / "runs" / "searches" / "s" / "trial-000")
    result = train(change(find("quickstart"), FAST), trial, stop=StopRequest("stopped"))
    assert (result["stop_reason"], result["epochs"]) == ("stopped", 1)
    trial.write_result({**result, "stop_reason": stop_reason})
    finished_study, lines = run_made(tmp_path / "runs")
    assert "1 runs to train, 0 are there" in lines
    assert only_run(finished_study).result()["epochs"] == 4


def test_a_run_of_its_own_that_its_budget_ended_is_named_and_not_compared(tmp_path: Path) -> None:
    hasty = StudyRow(name="hasty", recipe="quickstart", overrides={"training.max_time": "0.001 s"})
    both = DIGITS.model_copy(update={"rows": (*DIGITS.rows, hasty)})
    finished_study, lines = run_made(tmp_path, both)
    assert (
        "hasty, seed 0: ended by its time limit after 1 epoch." in finished_study.comparison.notes
    )
    assert finished_study.comparison.rows[1].values == {}
    assert lines.endswith("ended by its time limit after 1 epoch")
    second, lines = run_made(tmp_path, both)  # it would end so again
    assert "0 runs to train" in lines and second.comparison == finished_study.comparison
    entries = json.loads(finished_study.folder.file.read_text())["runs"]
    assert [(e["row"], e["state"]) for e in entries] == [
        ("plain", "finished"),
        ("hasty", "finished"),
    ]

    with pytest.raises(UserError, match="nothing to compare") as caught:
        run_made(tmp_path, DIGITS.model_copy(update={"name": "hasty", "rows": (hasty,)}))
    assert "ended by its time limit" in caught.value.hint
