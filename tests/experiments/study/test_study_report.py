"""``cifarlab report STUDY``: the verdicts of a study on one page, with its pictures."""

import shutil

import pytest
from page_parser import read

from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.report import write_study_report
from cifarlab.experiments.study.table import footing, heading, restore_comparison
from cifarlab.system.errors import UserError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A study of two rows over three or four seeds, an epoch of the digits each."""
    low = StudyRow(name="low", recipe="quickstart", overrides={"optimizer.lr": 0.001})
    study = Study(
        name="lr",
        about="Does a low learning rate cost?",
        until="decided",
        most=4,
        margin=1,
        overrides={"training.duration": "2 epochs"},
        rows=(StudyRow(name="usual", recipe="quickstart"), low),
    )
    return run_study(study, runs=tmp_path_factory.mktemp("runs"), log=lambda _line: None).folder


@pytest.fixture
def folder(trained, tmp_path):
    return StudyFolder(shutil.copytree(trained.path, tmp_path / "lr"))


def test_a_study_has_a_page_with_all_that_it_says(folder):
    path = write_study_report(folder.path, None, ("svg",), lambda: None)
    page = read(path)
    assert path == folder.path / "report" / "report.html" and not page.unclosed
    comparison = restore_comparison(folder.content()["comparison"])
    assert "The same: within 1 point" in heading(comparison)[-1]
    for words in ("Does a low learning rate cost?", *heading(comparison), *footing(comparison)):
        assert " ".join(words.split()) in page.text
    rows = [row[0] for row in page.tables["verdicts"]]
    assert rows == ["row", "usual", "low", "row", "low"]  # the second table is of the margin
    assert len(page.tables["flips"]) == 11
    kinds = {"figure", "evidence", "curves", "flips", "intervals"}
    assert {file.stem for file in (path.parent / "figures").iterdir()} == kinds
    assert page.tags.count("img") == len(kinds)


def test_a_lost_run_costs_the_pictures_that_need_it_alone(folder, tmp_path):
    next(folder.path.glob("low-s1-*/recipe.yaml")).unlink()
    page = read(write_study_report(folder.path, tmp_path / "page.html", ("svg",), lambda: None))
    assert "low-s1-" in page.text and len(page.tables["verdicts"]) == 5
    assert {file.stem for file in (tmp_path / "figures").iterdir()} == {"figure", "evidence"}


def test_a_study_that_has_not_ended_has_no_page(tmp_path):
    folder = StudyFolder(tmp_path / "begun")
    folder.write({"study": {"name": "begun"}, "runs": [], "comparison": None})
    with pytest.raises(UserError, match="has not come to its end"):
        write_study_report(folder.path, None, ("svg",), lambda: None)
