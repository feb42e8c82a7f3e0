"""The table for people, for programs, and whole; and the figure."""

import csv
import io
import json

import pytest
from made_study import ACCURACIES, made
from statsmodels.stats.power import ttest_power

from cifarlab.experiments.study.folder import write_comparison
from cifarlab.experiments.study.table import (
    csv_text,
    footing,
    format_rows,
    heading,
    markdown,
    restore_comparison,
)
from cifarlab.run_folder.schemas import as_json
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.formatting import NOTHING

SCALED = "At scale 0.1: 0.1 of the training images and 0.1 of the epochs."

HEADERS = (
    "row",
    "n",
    "mean",
    "std",
    "95 % interval",
    "difference",
    "95 % interval of it",
    "d_z",
    "p (Holm)",
    "verdict",
    "chance to find 0.3 points",
    "reported",
    "agreement",
)


def cells(comparison, row):
    headers, rows = format_rows(comparison)
    return dict(zip(headers, next(r for r in rows if r[0] == row), strict=True))


def test_a_row_in_text():
    row = cells(made(), "better")
    assert row["n"] == "3" and row["mean"] == "92.00" and row["std"] == "0.50"
    assert row["95 % interval"] == "90.76 to 93.24"
    # differences 2.0, 2.1, 1.9: standard deviation 0.1, reach 4.302653 * 0.1 / sqrt(3) = 0.25
    assert row["difference"] == "+2.00" and row["95 % interval of it"] == "+1.75 to +2.25"
    assert row["d_z"] == "20.00" and row["verdict"] == "better"
    assert row["p (Holm)"] == "0.00083"
    # 4,000 simulated studies: the error is 0.7 points
    assert int(row["chance to find 0.3 points"].removesuffix(" %")) == pytest.approx(
        100 * ttest_power(3.0, 3, 0.05), abs=2
    )
    assert row["reported"] == "99" and row["agreement"].startswith("differs: 99.00")


def test_what_there_is_not_is_a_dash():
    row = cells(made(), "failed")
    assert row.pop("row") == "failed" and row.pop("n") == "0"
    assert row.pop("verdict") == "no run finished"
    assert set(row.values()) == {NOTHING}


def test_columns_of_reports_are_left_out_where_there_are_none():
    assert format_rows(made())[0] == HEADERS
    assert format_rows(made(reported=False))[0] == HEADERS[:-2]


def test_differences_stand_beside_reported_levels_of_shortened_runs():
    assert cells(made(scale=0.1), "better")["reported"] == "99 (+9.00)"
    assert any("levels are not comparable here" in line for line in footing(made(scale=0.1)))
    assert not any("levels are not" in line for line in footing(made()))


def test_data_split_and_scale_are_named():
    assert heading(made())[0] == "Test accuracy in per cent on CIFAR-10."
    assert heading(made())[-1].startswith("Plan: one look, after 3 seeds; p by the paired t test")
    assert SCALED in heading(made(scale=0.1)) and SCALED not in heading(made())
    assert SCALED in (text := markdown(made("digits", 0.1))) and "on digits" in text


def test_markdown_is_one_table_with_notes():
    text = markdown(made())
    assert text.startswith("# made/up\n\nTest accuracy")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(ACCURACIES)
    assert len({line.replace("\\|", "").count("|") for line in table}) == 1
    assert "- failed, seed 0: DivergenceError: NaN | at step 3." in text
    assert "Kendall's tau between our order and theirs 1.00" in text


def test_csv_has_the_numbers_unrounded():
    rows = {row["row"]: row for row in csv.DictReader(io.StringIO(csv_text(made(scale=0.1))))}
    better = rows["better"]
    assert float(better["mean"]) == pytest.approx(0.92, abs=1e-12)
    assert float(better["difference"]) == pytest.approx(0.02, abs=1e-12)
    assert float(better["p"]) == float(better["p_holm"])  # one comparison only
    assert (better["scale"], better["data"], better["split"]) == ("0.1", "CIFAR-10", "test")
    assert better["values"] == "0:0.920000 1:0.925000 2:0.915000"
    assert rows["failed"]["mean"] == "" and rows["failed"]["n"] == "0"


def test_json_names_every_number():
    tree = json.loads(json.dumps(as_json(made())))
    better = tree["rows"][1]
    assert better["pairs"]["difference"]["n"] == 3 and better["values"]["1"] == 0.925
    assert better["reported"]["accuracy"] == 99 and better["agreement"]["agrees"] is False
    assert tree["rank_correlation"]["n"] == 2 and tree["baseline"] == "base"
    assert as_json(None) is None


def test_files(tmp_path):
    with pytest.raises(UserError, match="'jpg'"):
        write_comparison(made(), tmp_path, ["jpg"])
    assert not list(tmp_path.iterdir())
    write_comparison(made(), tmp_path)
    files = {"table.md", "table.csv", "figure.svg"}
    assert {f.name for f in tmp_path.iterdir()} == files
    write_comparison(made(), tmp_path, ["png", "pdf"])
    assert {f.name for f in tmp_path.iterdir()} == files | {"figure.png", "figure.pdf"}


@pytest.mark.parametrize("data", ["CIFAR-10", "digits"])
@pytest.mark.parametrize("reported", [True, False])
def test_what_was_written_as_json_is_the_comparison_again(data, reported):
    comparison = made(data, reported=reported)
    tree = json.loads(json.dumps(as_json(comparison)))
    assert restore_comparison(tree) == comparison


@pytest.mark.parametrize("stages", [[], [(9, 3)], [(0, 3)], [(3, 10**12)]])
def test_a_plan_that_is_none_is_refused(stages):
    tree = json.loads(json.dumps(as_json(made())))
    tree["plan"]["stages"] = [{"first": a, "last": b, "part": 1.0} for a, b in stages]
    with pytest.raises(RunFolderError, match="plan is none"):
        restore_comparison(tree)


@pytest.mark.parametrize(
    "tree", [{}, [], "x", None, {"rows": [{}], "rank_correlation": None, "notes": []}]
)
def test_other_json_is_no_comparison(tree):
    with pytest.raises(RunFolderError, match="not one that this cifarlab writes"):
        restore_comparison(tree)
