"""Finished runs are found, grouped by recipe without the seed, and compared."""

import pytest
from made_study import make_run

from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import finished_runs
from cifarlab.system.errors import RecipeError, RunFolderError


@pytest.fixture
def runs(tmp_path):
    """Three seeds of the quickstart and of a change of it, one run unfinished, one damaged."""
    root = tmp_path / "runs"
    for seed in range(3):
        make_run(root / f"plain-{seed}", 0.90 + seed / 100, seed=seed)
        other = {"name": "mine/adam", "optimizer.kind": "adam"}
        path = root / "studies" / "s" / f"adam-{seed}"
        make_run(path, 0.95 + seed / 90, seed=seed, changes=other)
    make_run(root / "plain-3", None, seed=3)
    damaged = make_run(root / "plain-4", 0.9, seed=4)
    (damaged / "result.json").write_text("{")
    return root


def values_by_row(comparison):
    return {line.name: line.values for line in comparison.rows}


def test_finished_runs_at_any_depth_are_read(runs):
    names = {folder.path.name for folders in finished_runs(runs).values() for folder in folders}
    assert names == {f"{row}-{seed}" for row in ("plain", "adam") for seed in range(3)}
    assert finished_runs(runs / "nowhere") == {}


def test_a_recipe_means_its_finished_runs_and_a_folder_its_own(runs):
    comparison = compare_runs(["quickstart", str(runs / "studies" / "s")], runs=runs)
    assert values_by_row(comparison) == {
        "quickstart": {0: 0.90, 1: 0.91, 2: 0.92},
        "mine/adam": {0: 0.95, 1: 0.95 + 1 / 90, 2: 0.95 + 2 / 90},
    }
    assert comparison.baseline == "quickstart" and comparison.rows[1].verdict == "better"
    assert comparison.data == "digits" and comparison.split == "test"


def test_run_folders_one_by_one_in_their_order(runs):
    paths = [str(runs / "plain-1"), str(runs / "studies/s/adam-1"), str(runs / "plain-0")]
    comparison = compare_runs(paths, runs=runs)
    assert {row: list(values) for row, values in values_by_row(comparison).items()} == {
        "quickstart": [0, 1],
        "mine/adam": [1],
    }


def test_unplanned_pairs_are_in_the_order_in_which_they_were_begun(runs):
    for seed in range(3):
        folder = RunFolder(runs / f"plain-{seed}")
        start = {"time": f"2026-01-0{9 - seed}T00:00:00+00:00", "step": 0}
        folder.write_provenance(folder.provenance() | {"starts": [start]})
    comparison = compare_runs(["quickstart", str(runs / "studies" / "s")], runs=runs)
    assert [list(row.values) for row in comparison.rows] == [[2, 1, 0]] * 2


def test_against_names_the_baseline(runs):
    comparison = compare_runs(["quickstart"], against=str(runs / "studies" / "s"), runs=runs)
    assert comparison.baseline == "mine/adam" and comparison.rows[1].verdict == "worse"


def test_an_unfinished_run_is_named_in_a_note(runs):
    comparison = compare_runs([str(runs / "plain-0"), str(runs / "plain-3")], runs=runs)
    assert values_by_row(comparison) == {"quickstart": {0: 0.90}}
    assert "quickstart, seed 3: not finished." in comparison.notes


def test_a_second_run_of_a_seed_is_left_out_with_a_note(runs):
    make_run(runs / "again", 0.5, seed=0)
    comparison = compare_runs([str(runs / "plain-0"), str(runs / "again")], runs=runs)
    assert values_by_row(comparison) == {"quickstart": {0: 0.90}}
    assert "quickstart, seed 0: again is another run; left out." in comparison.notes


def make_variant(runs, name, **changes):
    changes = {key.replace("__", "."): value for key, value in changes.items()}
    return str(make_run(runs / name, 0.8, changes=changes))


def test_recipes_of_one_name_are_named_by_what_differs(runs):
    other = make_variant(runs, "other", optimizer__lr=0.3)
    comparison = compare_runs([str(runs / "plain-0"), other, str(runs / "studies/s")], runs=runs)
    first, second = "quickstart optimizer.lr=0.1", "quickstart optimizer.lr=0.3"
    assert list(values_by_row(comparison)) == [first, second, "mine/adam"]


def test_another_kind_is_named_without_its_keys(runs):
    other = make_variant(runs, "other", optimizer__kind="adam")
    comparison = compare_runs([str(runs / "plain-0"), other], runs=runs)
    assert list(values_by_row(comparison)) == [
        "quickstart optimizer.kind=sgd",
        "quickstart optimizer.kind=adam",
    ]


def test_where_much_differs_the_run_is_named(runs):
    much = {"augment__degrees": 5, "augment__translate": 0.1, "augment__scale": 0.1}
    other = make_variant(runs, "other", training__batch_size=64, **much)
    comparison = compare_runs([str(runs / "plain-0"), other], runs=runs)
    assert list(values_by_row(comparison)) == ["quickstart plain-0", "quickstart other"]


def test_against_takes_a_printed_row(runs):
    names = [str(runs / "plain-0"), make_variant(runs, "other", optimizer__lr=0.3)]
    row = list(values_by_row(compare_runs(names, runs=runs)))[1]
    comparison = compare_runs(names, against=row, runs=runs)
    assert comparison.baseline == row and list(values_by_row(comparison))[1] == row
    assert comparison.rows[1].verdict == "the baseline"
    with pytest.raises(RecipeError, match=f"the rows here are .*{row}"):
        compare_runs(names, against="quickstart optimizer.lr=0.4", runs=runs)


def test_other_images_are_warned_about(runs):
    other = make_run(runs / "other", 0.8, changes={"optimizer.lr": 0.3}, data="photos")
    comparison = compare_runs([str(runs / "plain-0"), str(other)], runs=runs)
    assert comparison.notes[0].startswith(
        "These runs were measured on different data (digits, photos)"
    )
    assert comparison.rows[1].verdict == "measured on other data than digits: not compared"


@pytest.mark.parametrize(
    ("stop_reason", "reason"),
    [
        ("max_time", "ended by its time limit after 20 epochs"),
        ("stopped", "stopped by a search after 20 epochs"),
    ],
)
def test_a_run_that_something_ended_early_is_named_and_in_no_mean(runs, stop_reason, reason):
    """A trial after 1 of 4 epochs once stood beside its recipe's whole runs."""
    make_run(runs / "early-5", 0.37, seed=5, stop_reason=stop_reason)
    make_run(runs / "a-early-0", 0.37, stop_reason=stop_reason)  # its seed has a whole run, too
    make_run(runs / "patient-6", 0.93, seed=6, stop_reason="early_stopping")
    for names in (["quickstart"], [str(path) for path in sorted(runs.glob("*-*"))]):
        comparison = compare_runs([n for n in names if not n.endswith("plain-4")], runs=runs)
        assert values_by_row(comparison)["quickstart"] == {0: 0.90, 1: 0.91, 2: 0.92, 6: 0.93}
        assert f"quickstart, seed 5: {reason}." in comparison.notes
        assert "quickstart, seed 0: a-early-0 is another run; left out." in comparison.notes


def test_one_recipe_on_images_that_changed_is_two_rows_and_no_pair(runs):
    """The source's path is in the recipe, what lay there is not."""
    for seed in range(3):
        make_run(runs / f"zz-after-{seed}", 0.5, seed=seed, images="a third less")
    comparison = compare_runs(["quickstart"], runs=runs)
    assert values_by_row(comparison) == {
        "quickstart": {0: 0.90, 1: 0.91, 2: 0.92},
        "quickstart-2": {0: 0.5, 1: 0.5, 2: 0.5},
    }
    assert comparison.rows[1].pairs is None
    assert "measured on other data than digits (" in comparison.rows[1].verdict
    assert any("did not see the same images" in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("name", "error"), [("quickstat", RecipeError), ("resnet18", RunFolderError)]
)
def test_what_has_no_run(runs, name, error):
    with pytest.raises(error, match=name):
        compare_runs([name], runs=runs)
