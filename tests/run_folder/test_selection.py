"""Runs are chosen and sorted by keys of the list, of recipes, of results and of provenance."""

from pathlib import Path

import pytest
from made_run import Plan, digits, make

from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.selection import _RESULTS, select_runs
from cifarlab.system.errors import RunFolderError, UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds of a recipe, another on other data, one in training, one damaged."""
    root = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        make(root / f"a-s{seed}", Plan(n=200, seed=seed, skill=3.0 + seed))
    make(root / "studies" / "s" / "digits", digits(n=100, skill=9.0))
    make(root / "young", digits(finished=False, test=False))
    (make(root / "torn", Plan(n=100)) / "result.json").write_text("{")
    return root


def names(root: Path, where: str = "", sort: str = "run") -> list[str]:
    return [run.name for run in select_runs(root, where, sort).runs]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("", ["a-s0", "a-s1", "digits", "young"]),
        ("optimizer.lr == 0.05", ["a-s0", "a-s1"]),
        ("optimizer.nesterov and seed == 1", ["a-s1"]),
        ("data == 'digits' and data.source == 'digits'", ["digits", "young"]),
        ("state == 'finished' and test > 0 and test == test.accuracy", ["a-s0", "a-s1", "digits"]),
        ("cost.peak_memory_bytes > 1e9 and stop_reason == 'planned'", ["a-s0", "a-s1", "digits"]),
        ("device.name == 'AMD EPYC' and data.fingerprint == 'digits-4f5e'", ["digits", "young"]),
        ("model == 'resnet' and schedule == 'multistep'", ["digits", "young"]),
        (
            "data.images and not data.fold and data.fold == null",
            ["a-s0", "a-s1", "digits", "young"],
        ),
        ("'studies/' in run", ["digits"]),
        ("openings == 0", ["young"]),
        ("epochs > 7 and age < 1", ["a-s0", "a-s1", "digits"]),
        ("optimizer.alpha == 0.9", []),  # a key of another kind
        ("name == 'made/up' and recipe == name and seed == 1", ["a-s1"]),
    ],
)
def test_a_condition_chooses(root, where, expected):
    assert names(root, where) == expected


def test_runs_are_sorted_by_any_key_and_those_without_it_come_last(root):
    assert names(root, sort="test") == ["a-s0", "a-s1", "digits", "young"]
    assert names(root, sort="-test.accuracy") == ["digits", "a-s1", "a-s0", "young"]
    assert names(root, "seed == 0", sort="-optimizer.lr") == ["digits", "young", "a-s0"]


@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("lr > 1", "did you mean optimizer.lr?"),
        ("learning_rate > 1", "did you mean optimizer.lr?"),
        ("optimizer.learning_rate > 1", "did you mean optimizer.lr?"),
        ("test.acuracy > 0.1", "did you mean test.accuracy?"),
        ("tset.accuracy > 0.1", "did you mean test.accuracy?"),
        ("model.kind == resnet", "a text stands in quotes"),
    ],
)
def test_a_key_that_no_run_has_is_an_error_with_the_nearest(root, where, hint):
    with pytest.raises(UserError, match="no run has the key") as caught:
        names(root, where)
    assert hint in caught.value.hint


def test_a_key_that_a_run_may_have_later_is_none(tmp_path):
    make(tmp_path / "young", digits(finished=False, test=False))
    assert names(tmp_path, "test.accuracy > 0.5 or cost.train_seconds > 1") == []


def test_what_can_not_be_compared_names_the_run(root):
    with pytest.raises(UserError, match=r"training\.duration > 3: in a-s0, '8 epochs' and 3"):
        names(root, "training.duration > 3")


def test_a_folder_that_is_not_there_is_an_error_and_an_empty_one_is_not(tmp_path):
    with pytest.raises(RunFolderError, match="there is no folder"):
        select_runs(tmp_path / "nowhere")
    assert names(tmp_path, "any.key > 3") == []


def test_no_recipe_has_a_part_that_is_called_like_a_result():
    assert not set(Recipe.model_fields) & {*_RESULTS}
