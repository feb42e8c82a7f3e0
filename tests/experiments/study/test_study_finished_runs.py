"""Which runs of a study are exported or combined: by validation, never by luck."""

import json
from pathlib import Path

import pytest

from cifarlab.experiments.study.finished_runs import find_runs
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


def names(path: Path, row: str | None = None) -> list[str]:
    return [folder.path.name for folder in find_runs(path, row).folders]


def test_the_best_row_on_validation_by_seed(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    assert names(study) == ["wide-0", "wide-1"]
    choice = {"study": str(study), "row": "wide", "reason": "highest mean validation accuracy"}
    choice |= {"n_finished": 2, "n_runs": 3}
    assert find_runs(study).choice == choice


def test_a_row_by_its_name(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    assert names(study, "plain") == ["plain-0", "plain-1"]
    choice = find_runs(study, "plain").choice
    assert choice and choice["reason"] == "named"


@pytest.mark.parametrize("row", ["late", "none"])
def test_a_row_without_a_finished_run(tmp_path: Path, row: str) -> None:
    with pytest.raises(UserError, match=f"no row '{row}' with a finished run") as raised:
        find_runs(make_study(tmp_path / "study"), row)
    assert raised.value.hint == "take one of plain, wide"


def test_without_validation_one_of_several_rows_must_be_named(tmp_path: Path) -> None:
    blind = {"all": {0: (None, 0.9)}}
    study = make_study(tmp_path / "study", ACCURACIES | blind)
    with pytest.raises(UserError, match=r"row 'all' of .* held nothing out"):
        find_runs(study)
    assert names(study, "all") == ["all-0"]
    assert names(make_study(tmp_path / "one", blind)) == ["all-0"]


def test_a_study_without_a_finished_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="no run of the study"):
        find_runs(make_study(tmp_path / "study", {"late": {0: None}}))


def test_a_run_is_itself(tmp_path: Path, finished: RunFolder) -> None:
    assert names(finished.path) == [finished.path.name]
    with pytest.raises(UserError, match="is no study: it has no row 'wide'"):
        find_runs(finished.path, "wide")
    with pytest.raises(RunFolderError, match="is no run folder"):
        find_runs(tmp_path)
