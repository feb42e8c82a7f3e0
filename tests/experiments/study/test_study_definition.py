"""Studies as values and as files: what they resolve to, and what is refused."""

import json
import re
from pathlib import Path

import pytest
import yaml

from cifarlab.experiments.study.definition import (
    Study,
    StudyRow,
    change_plan,
    find_study,
    shipped_studies,
)
from cifarlab.experiments.study.engine import run_study
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change, validate_config
from cifarlab.system.errors import RecipeError, UserError

ROWS = [
    {"name": "plain", "recipe": "quickstart"},
    {"name": "adam", "recipe": "quickstart", "overrides": {"optimizer.kind": "adam"}},
    {"name": "no-crop", "recipe": "quickstart", "overrides": {"augment.crop.padding": 0}},
]


def write_study(path, **tree):
    file = path / "mine.yaml"
    file.write_text(yaml.safe_dump(json.loads(json.dumps(tree))))  # without aliases
    return str(file)


@pytest.mark.parametrize("name", shipped_studies())
def test_every_shipped_study_resolves(name):
    study = find_study(name)
    recipes = study.recipes()
    assert list(recipes) == [row.name for row in study.rows]
    assert study.baseline_name in recipes and study.about
    assert study == Study.model_validate(
        yaml.safe_load(yaml.safe_dump(study.model_dump(mode="json")))
    )


def test_a_row_is_its_recipe_with_changes_under_its_name():
    study = Study(
        name="s",
        rows=(StudyRow(name="r", recipe="quickstart", overrides={"optimizer.lr": 0.2}),),
        overrides={"training.duration": "2 epochs"},
    )
    expected = {"optimizer.lr": 0.2, "training.duration": "2 epochs", "name": "r"}
    assert study.recipes() == {"r": change(find("quickstart"), expected)}


def test_a_study_s_changes_come_last():
    row = StudyRow(name="r", recipe="quickstart", overrides={"optimizer.lr": 0.2})
    study = Study(name="s", rows=(row,), overrides={"optimizer.lr": 0.3})
    assert study.recipes()["r"].optimizer.lr == 0.3


def test_other_data_replaces_also_what_the_study_says_of_its_source():
    row = StudyRow(name="r", recipe="quickstart", overrides={"data.source.kind": "cifar10"})
    study = Study(name="s", rows=(row,), overrides={"data.source.kind": "cifar100"})
    sources = [study.recipes(data)["r"].data.source.kind for data in (None, "digits")]
    assert sources == ["cifar100", "digits"]


def test_a_file_is_a_study(tmp_path):
    study = find_study(write_study(tmp_path, rows=ROWS, n_seeds=2, baseline="adam"))
    assert (study.name, study.n_seeds, study.baseline_name) == ("mine", 2, "adam")
    assert find_study(write_study(tmp_path, rows=ROWS)).baseline_name == "plain"


def test_rows_by_pattern_keep_the_baseline(tmp_path):
    study = find_study(write_study(tmp_path, rows=ROWS))
    assert study.select_rows(None) == ["plain", "adam", "no-crop"]
    assert study.select_rows("no-*") == ["plain", "no-crop"]
    with pytest.raises(UserError, match="no row of mine matches 'x'") as caught:
        study.select_rows("x")
    assert "plain, adam, no-crop" in caught.value.hint


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({}, "rows is missing"),
        ({"rows": []}, "rows can't be"),
        ({"rows": [*ROWS, ROWS[0]]}, "two rows are called plain"),
        ({"rows": ROWS, "baseline": "plan"}, "baseline: 'plan' is no row; rows: plain, adam"),
        ({"rows": ROWS, "seed": 3}, "unknown key 'seed'"),
        ({"rows": ROWS, "n_seeds": 0}, "n_seeds can't be 0"),
        ({"rows": [{"name": "a b", "recipe": "quickstart"}]}, "rows.0.name can't be 'a b'"),
        ({"rows": [{"name": "a"}]}, "rows.0.recipe is missing"),
        ({"rows": ROWS, "most": 20}, "most would do nothing without until: decided"),
        ({"rows": ROWS, "until": "decided", "n_seeds": 5}, "n_seeds would do nothing without"),
        ({"rows": ROWS, "until": "decided", "most": 2}, "most can't be 2"),
        ({"rows": ROWS, "until": "deciding"}, "until can't be 'deciding'"),
        ({"rows": ROWS, "margin": 0}, "margin can't be 0"),
        ({"rows": ROWS[:1], "margin": 1}, "margin would do nothing without a second row"),
        ({"rows": ROWS[:1], "until": "decided"}, "until would do nothing without a second row"),
        (
            {"rows": [{**ROWS[0], "reported": {"accuracy": 101}}]},
            "rows.0.reported.accuracy can't be 101",
        ),
    ],
)
def test_a_bad_file_names_what_is_wrong(tmp_path, tree, message):
    file = write_study(tmp_path, **tree) if tree else write_study(tmp_path, name="x")
    with pytest.raises(RecipeError) as caught:
        find_study(file)
    assert message in caught.value.what and file in caught.value.what
    assert "recipes keys" not in caught.value.hint


def test_the_study_that_the_documentation_shows(tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "studies.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^```yaml\n(about:.*?)^```", page, re.MULTILINE | re.DOTALL)
    file = tmp_path / "mine.yaml"
    file.write_text(block)
    study = find_study(str(file))
    assert list(study.recipes()) == ["plain", "dropout"]
    assert study.reported["dropout"].accuracy == 93.1


def test_rows_that_are_patterns_of_shipped_recipes(tmp_path):
    row = {"name": "mine", "recipe": "quickstart"}
    study = find_study(
        write_study(tmp_path, rows=[row, "nyu2024/*", "!nyu2024/[a-bd-qs-z]*", "!nyu2024/cosine"])
    )
    assert [row.name for row in study.rows] == ["mine", "competition", "resnet"]
    assert [row.recipe for row in study.rows[1:]] == ["nyu2024/competition", "nyu2024/resnet"]
    assert {name: number.accuracy for name, number in study.reported.items()} == {
        "competition": 82,
        "resnet": 92,
    }


def test_a_pattern_like_no_recipe(tmp_path):
    file = write_study(tmp_path, rows=["nyu2025/*"])
    with pytest.raises(RecipeError, match=f"{file}: no shipped recipe is called like 'nyu2025/"):
        find_study(file)


@pytest.mark.parametrize(
    ("row", "study", "number"),
    [
        ({}, {}, 73.81),
        ({"reported": {"accuracy": 80}}, {}, 80),
        ({"reported": None}, {}, None),
        ({"overrides": {"seed": 1}}, {}, None),
        ({}, {"overrides": {"training.duration": "2 epochs"}}, None),
    ],
)
def test_a_shipped_recipe_as_it_is_has_its_report_s_number(tmp_path, row, study, number):
    rows = [{"name": "r", "recipe": "kth2024/baseline", **row}]
    (resolved,) = find_study(write_study(tmp_path, rows=rows, **study)).rows
    assert (resolved.reported and resolved.reported.accuracy) == number


def test_a_file_that_holds_no_study(tmp_path):
    file = tmp_path / "list.yaml"
    file.write_text("- 1")
    with pytest.raises(RecipeError, match="a study is a mapping of keys"):
        find_study(str(file))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"name": "r", "recipe": "quickstat"}, "no recipe is called 'quickstat'"),
        (
            {"name": "r", "recipe": "quickstart", "overrides": {"optimizer.rat": 1}},
            "study s, row r: unknown key 'optimizer.rat'",
        ),
    ],
)
def test_a_row_that_is_no_recipe(row, message):
    study = Study.model_validate({"name": "s", "rows": [row]})
    with pytest.raises(RecipeError) as caught:
        study.recipes()
    assert message in caught.value.what


def test_an_unknown_study_names_the_nearest():
    with pytest.raises(UserError, match="no study is called 'quickstat'") as caught:
        find_study("quickstat")
    assert "did you mean 'quickstart'?" in caught.value.hint


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"first_seed": 10**20}, "can't be"),
        ({"first_seed": 2**32}, "first_seed can't be 4294967296"),
        (
            {"first_seed": 2**32 - 2, "n_seeds": 3},
            "3 seeds from first_seed on go beyond 4294967295",
        ),
    ],
)
def test_seeds_that_no_run_can_have_are_refused_before_anything_is_written(tree, message):
    rows = [{"name": "r", "recipe": "quickstart"}]
    with pytest.raises(RecipeError, match=message):
        validate_config(Study, {"name": "s", "rows": rows, **tree}, "study")


@pytest.mark.parametrize(("first", "seeds"), [(0, 1001), (2**32 - 2, 3)])
def test_more_seeds_than_there_are_on_the_command_line(tmp_path, first, seeds):
    rows = (StudyRow(name="r", recipe="quickstart"),)
    study = Study(name="s", rows=rows, n_seeds=1, first_seed=first)
    with pytest.raises(RecipeError, match="seeds"):
        run_study(study, n_seeds=seeds, runs=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_row_s_recipe_lies_beside_the_study(tmp_path):
    (tmp_path / "theirs.yaml").write_text("seed: 7")
    rows = [{"name": "r", "recipe": "theirs.yaml"}, {"name": "other", "recipe": "quickstart"}]
    assert find_study(write_study(tmp_path, rows=rows)).recipes()["r"].seed == 7
    (tmp_path / "theirs.yaml").unlink()
    with pytest.raises(RecipeError, match=r"^study mine, row r: can't read the recipe theirs.yaml"):
        find_study(write_study(tmp_path, rows=rows)).recipes()


def test_options_make_another_plan_and_drop_what_it_has_no_use_for():
    study = Study(name="s", n_seeds=5, rows=ROWS)
    decided = change_plan(study, until="decided", margin=0.2)
    assert (decided.max_seeds, decided.margin, decided.n_seeds) == (10, 0.2, 3)
    back = change_plan(decided.model_copy(update={"most": 20}), until="seeds", n_seeds=4)
    assert (back.max_seeds, back.most, back.margin) == (4, 10, 0.2)
    assert change_plan(study, first_seed=7).first_seed == 7 and change_plan(study) == study


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"most": 9}, "study s: --most would do nothing with until: seeds"),
        ({"until": "decided", "n_seeds": 3}, "n-seeds would do nothing with until: decided"),
        ({"until": "decided", "most": 101}, "most can't be 101"),
        ({"until": "dec"}, "until can't be 'dec'"),
    ],
)
def test_options_that_decide_nothing_are_refused(options, message):
    with pytest.raises(RecipeError) as caught:
        change_plan(Study(name="s", rows=ROWS), **options)
    assert message in caught.value.what and caught.value.hint
