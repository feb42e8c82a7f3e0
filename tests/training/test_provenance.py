"""What a run says of how it was made."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from cifarlab.config.duration import Duration
from cifarlab.recipes.schema import Extension
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.extend import extend_run
from cifarlab.training.train import train


def test_each_start_says_what_it_was_made_with(finished: RunFolder) -> None:
    (start,) = finished.provenance()["starts"]
    assert {"time", "command", "step", "cifarlab", "commit", "python", "libraries"} <= set(start)
    assert start["device"]["threads"] == 1
    assert finished.result()["notes"] == []


def test_a_start_under_other_conditions_is_noted(copied: RunFolder, tiny: Callable) -> None:
    copied.result_file.unlink()
    provenance = copied.provenance()
    provenance["starts"][0]["libraries"]["torch"] = "1.0"
    copied.provenance_file.write_text(json.dumps(provenance))
    notes = train(tiny(), copied, resume=True)["notes"]
    assert len(notes) == 1
    assert "same libraries" in notes[0]
    assert [s["step"] for s in copied.provenance()["starts"]] == [0, 33]


def test_files_that_change_meanwhile_are_not_the_code_that_runs(
    copied: RunFolder, tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = CompletedProcess([], 0, "another-commit+")
    monkeypatch.setattr("cifarlab.training.provenance.subprocess.run", lambda *_, **__: answer)
    copied.result_file.unlink()
    assert train(tiny(), copied, resume=True)["notes"] == []


def test_an_extension_remembers_who_saw_the_test_split(copied: RunFolder) -> None:
    """Whoever extends a run has seen its test result; its openings must not be forgotten."""
    longer = Extension(duration=Duration.parse("1 epoch"), schedule="hold")
    recipe, target = extend_run(copied, longer)
    train(recipe, target, resume=True)
    assert len(target.provenance()["test_openings"]) == 2
    assert target.provenance()["extends"] == str(copied.path)


@pytest.mark.parametrize(
    ("changes", "same"),
    [({"seed": 5}, True), ({"data.split_seed": 1}, False), ({"data.test_fraction": 0.3}, False)],
)
def test_the_result_says_which_images_were_tested(
    finished: RunFolder, tiny: Callable, tmp_path: Path, changes: dict, same: bool
) -> None:
    other = train(tiny(changes | {"training.duration": "1 step"}), RunFolder(tmp_path / "run"))
    prints = {result["test"]["fingerprint"] for result in (finished.result(), other)}
    assert (len(prints) == 1) == same
