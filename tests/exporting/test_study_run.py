"""Which run of a study is exported: by validation, never by luck."""

import json
from pathlib import Path

import pytest

from cifarlab.exporting.study_run import find_run
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError, UserError

# by row and seed: accuracy on validation and on test; None: not finished
ACCURACIES = {
    "plain": {0: (0.80, 0.99), 1: (0.82, 0.99)},
    "wide": {1: (0.90, 0.70), 0: (0.81, 0.70), 2: None},
    "late": {0: None},
}


def make_study(folder: Path, accuracies: dict = ACCURACIES) -> Path:
    """A study's folder: the files that are read of it."""
    runs = []
    for row, seeds in accuracies.items():
        for seed, pair in seeds.items():
            run = RunFolder(folder / f"{row}-{seed}")
            run.path.mkdir(parents=True)
            if pair:
                val, test = ({"accuracy": value} if value else None for value in pair)
                run.write_result({"test": test} | ({"val": val} if val else {}))
            runs.append({"row": row, "seed": seed, "run": run.path.name})
    (folder / "study.json").write_text(json.dumps({"format": 1, "runs": runs}))
    return folder


def test_the_best_row_on_validation_and_of_it_the_first_seed(tmp_path: Path) -> None:
    folder, choice = find_run(make_study(tmp_path / "study"))
    assert folder.path.name == "wide-0"
    assert choice and (choice["row"], choice["seed"]) == ("wide", 0)
    assert choice["reason"] == "highest mean validation accuracy"


def test_a_row_by_its_name(tmp_path: Path) -> None:
    folder, choice = find_run(make_study(tmp_path / "study"), "plain")
    assert folder.path.name == "plain-0" and choice and choice["reason"] == "named"


@pytest.mark.parametrize("row", ["late", "none"])
def test_a_row_without_a_finished_run(tmp_path: Path, row: str) -> None:
    with pytest.raises(UserError, match=f"no row '{row}' with a finished run") as raised:
        find_run(make_study(tmp_path / "study"), row)
    assert raised.value.hint == "take one of plain, wide"


def test_without_validation_the_row_must_be_named(tmp_path: Path) -> None:
    accuracies = ACCURACIES | {"all": {0: (None, 0.9)}}
    study = make_study(tmp_path / "study", accuracies)
    with pytest.raises(UserError, match=r"row 'all' of .* held nothing out"):
        find_run(study)
    assert find_run(study, "all")[0].path.name == "all-0"


def test_a_study_without_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run of the study"):
        find_run(make_study(tmp_path / "study", {"late": {0: None}}))
