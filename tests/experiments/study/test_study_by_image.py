"""compare --by image, --metric seconds and corruption, --margin, and a worn test set."""

import json
from itertools import product

import numpy as np
import pytest
from made_run import Plan as MadeRun
from made_run import make
from made_study import make_run

from cifarlab.data.opening import open_data
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.folder import write_comparison
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.study.table import markdown, restore_comparison
from cifarlab.recipes.catalog import find
from cifarlab.report.by_image import flips_rows
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.schemas import as_json
from cifarlab.system.errors import UserError

SLOW = (("optimizer.lr", 0.01),)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three seeds of two recipes with predictions."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        make(folder / f"fast-{seed}", MadeRun(seed=seed, n=400, skill=4.5))
        make(folder / f"slow-{seed}", MadeRun(seed=seed, n=400, skill=3.0, changes=SLOW))
    return folder


@pytest.fixture(scope="module")
def by_image(root):
    return compare_runs([str(root)], runs=root, by="image")


def test_each_row_has_its_intervals_and_flips(by_image):
    (images,) = by_image.by_image
    row = by_image.rows[1]
    assert images.row == row.name and images.baseline == by_image.baseline
    assert images.intervals.mean == pytest.approx(row.pairs.difference.mean)
    assert sum(flips.n_images for flips in images.flips.classes) == 400
    assert images.intervals.seeds is not None and images.n_others == 1


def test_the_tables_say_it_and_json_keeps_it(by_image, tmp_path):
    text = markdown(by_image)
    for words in ("other seeds and other images", "these runs, other images", "became right"):
        assert words in text
    assert "McNemar" not in text  # three pairs
    write_comparison(by_image, tmp_path)
    lines = (tmp_path / "flips.csv").read_text().splitlines()
    assert len(lines) == 11 and lines[0].startswith("row,class,n_images,n_gained,n_lost")
    assert {"flips.svg", "intervals.svg"} <= {file.name for file in tmp_path.iterdir()}
    tree = json.loads(json.dumps(as_json(by_image._replace(runs=()))))
    assert restore_comparison(tree) == by_image._replace(runs=())
    assert flips_rows(by_image.by_image)[0]["class"] == "airplane"


def test_p_of_other_images_is_corrected_for_the_rows_and_never_smaller(root, tmp_path):
    """Other seeds and other images are the wider question, so it can't be better shown."""
    for seed in range(3):
        third = (("optimizer.lr", 0.02),)
        make(tmp_path / f"third-{seed}", MadeRun(seed=seed, n=400, skill=4.0, changes=third))
    comparison = compare_runs([str(root), str(tmp_path)], runs=tmp_path, by="image")
    by_name = {row.name: row for row in comparison.rows}
    raw = sorted(images.p_listed / images.n_others for images in comparison.by_image)
    ps = [images.p for images in comparison.by_image]
    assert sorted(ps) == pytest.approx([2 * raw[0], max(raw[1], 2 * raw[0])])  # Holm
    for images in comparison.by_image:
        row = by_name[images.row]
        assert images.p >= row.p
        assert images.intervals.seeds == row.pairs.difference.interval  # one question
    assert "| p (Holm) |" in markdown(comparison).split("other images like these")[0]


def test_what_an_earlier_look_excluded_stays_excluded(tmp_path):
    """The interval over seeds is the row's, which all looks have in common."""
    for seed, skill in enumerate((3.0, 3.0, 3.0, 5.5)):
        make(tmp_path / f"fast-{seed}", MadeRun(seed=seed, n=400, skill=4.5))
        make(tmp_path / f"slow-{seed}", MadeRun(seed=seed, n=400, skill=skill, changes=SLOW))
    comparison = compare_runs([str(tmp_path)], runs=tmp_path, by="image")
    ((images,), (_, row)) = comparison.by_image, comparison.rows
    assert images.intervals.seeds == row.pairs.difference.interval
    assert images.intervals.seeds[1] < images.intervals.seeds_and_images[1] - 0.05


def test_one_pair_is_mcnemar_s_and_says_nothing_of_seeds(root):
    names = [str(root / "fast-0"), str(root / "slow-0")]
    comparison = compare_runs(names, runs=root, by="image")
    (images,) = comparison.by_image
    assert images.intervals.seeds is images.intervals.seeds_and_images is None
    assert images.flips.p is not None and "McNemar" in markdown(comparison)


@pytest.mark.parametrize("metric", ["seconds", "corruption"])
def test_what_is_of_whole_runs_has_no_images(root, metric):
    with pytest.raises(UserError, match="nothing to compare by image"):
        compare_runs([str(root)], runs=root, metric=metric, by="image")


def test_there_is_one_way_to_compare_by(root):
    with pytest.raises(UserError, match="nothing is compared by 'class'"):
        compare_runs([str(root)], runs=root, by="class")


def test_recipes_that_were_judged_before_are_counted(root):
    other_recipe = MadeRun(n=400, changes=(("optimizer.lr", 0.2),))
    others = root / "studies"
    make(others / "s" / "other", other_recipe)
    try:
        comparison = compare_runs([str(root)], runs=root, by="image")
        assert any(
            "1 other recipe was judged on these test images by the runs here (1 opening)." in n
            for n in comparison.notes
        )
        (images,) = comparison.by_image
        assert images.n_others == 2 and images.p_listed == pytest.approx(min(1, 2 * images.p))
        assert "Bonferroni" in markdown(comparison)
    finally:
        (others / "s" / "other" / "recipe.yaml").unlink()
    comparison = compare_runs([str(root)], runs=root)
    assert not any("judged on these" in note for note in comparison.notes)


def make_judged(root, rows, time):
    """Runs of recipes, three seeds of each, whose test images were opened at a time."""
    images = open_data(find("quickstart").data).dataset.fingerprint
    for (name, changes), seed in product(rows.items(), range(3)):
        made = {"name": name, **changes}
        path = make_run(root / f"{name}-{seed}", 0.9 + seed / 100, seed=seed, changes=made)
        openings = [{"opener": opener, "time": time} for opener in ("train", "evaluate")]
        data = {"data": {"name": "digits", "fingerprint": images}}
        RunFolder(path).write_provenance(data | {"test_openings": openings})


def test_a_study_counts_what_was_judged_before_its_plan(tmp_path):
    """Its table stays what it was when later recipes are judged on the same images."""
    rows = {"plain": {}, "low": {"optimizer.lr": 0.01}}
    study = Study(
        name="worn",
        n_seeds=3,
        rows=tuple(StudyRow(name=n, recipe="quickstart", overrides=o) for n, o in rows.items()),
    )
    other = {"other": {"optimizer.lr": 0.2}}
    make_judged(tmp_path, rows | other, "2026-01-01T00:00:00+00:00")
    finished = run_study(study, runs=tmp_path, log=lambda _line: None)
    note = "1 other recipe was judged on these test images before the plan was written (6 openings)"
    (wear,) = [text for text in finished.comparison.notes if "judged on these" in text]
    assert wear.startswith(note)
    make_judged(tmp_path, {"late": {"optimizer.lr": 0.4}}, "2999-01-01T00:00:00+00:00")
    compared = compare_runs([str(finished.folder.path)], runs=tmp_path)
    assert wear in compared.notes
    alone = compare_runs([str(tmp_path / "plain-0"), str(tmp_path / "low-0")], runs=tmp_path)
    assert any("test images by the runs here (12 openings)." in note for note in alone.notes)


def timed(root, seconds=(1.0, 1.0), **device):
    """Three pairs of runs with these seconds, the first row's and the second's."""
    for row, (name, changes) in enumerate((("a", {}), ("b", {"optimizer.lr": 0.3}))):
        for seed in range(3):
            path = make_run(root / f"{name}{seed}", 0.9 + seed / 100, seed=seed, changes=changes)
            folder = RunFolder(path)
            compute = {"name": "a CPU", "threads": 2, **(device if row else {})}
            start = {"time": "now", "step": 0}
            more = {"device": compute, "precision": "float32", "processes": 1, "starts": [start]}
            folder.write_provenance(folder.provenance() | more)
            result = folder.result()
            result["cost"]["train_seconds"] = seconds[row] + seed / 1000 * (row + 1)
            folder.write_result(result | {"parameters": 100 * (row + 1)})
    return root


def test_seconds_are_compared_where_less_is_better(tmp_path):
    comparison = compare_runs([str(timed(tmp_path, (2.0, 1.0)))], runs=tmp_path, metric="seconds")
    assert comparison.rows[1].verdict == "better"
    assert comparison.rows[1].pairs.difference.mean == pytest.approx(-0.999)
    assert markdown(comparison).startswith("# Comparison\n\nTraining seconds on digits; less is")
    assert not any("images" in note for note in comparison.notes)


@pytest.mark.parametrize(
    ("device", "words"),
    [({"name": "a GPU"}, r"the device differs \(a CPU, a GPU\)"), ({"threads": 1}, "the threads")],
)
def test_seconds_of_other_conditions_are_refused(tmp_path, device, words):
    timed(tmp_path, **device)
    with pytest.raises(UserError, match=words):
        compare_runs([str(tmp_path)], runs=tmp_path, metric="seconds")


@pytest.mark.parametrize(
    ("facts", "words"),
    [({"libraries": {"torch": "2.9"}}, "version of torch"), ({"cifarlab": "0.2"}, "of cifarlab")],
)
def test_seconds_of_other_versions_are_refused(tmp_path, facts, words):
    folder = RunFolder(timed(tmp_path) / "b1")
    folder.write_provenance(folder.provenance() | facts)
    with pytest.raises(UserError, match=f"the .*{words} differs"):
        compare_runs([str(tmp_path)], runs=tmp_path, metric="seconds")


def test_seconds_with_a_pause_or_without_a_device_are_refused(tmp_path):
    folder = RunFolder(timed(tmp_path) / "b1")
    provenance = folder.provenance()
    folder.write_provenance(provenance | {"starts": provenance["starts"] * 2})
    with pytest.raises(UserError, match="b1 paused"):
        compare_runs([str(tmp_path)], runs=tmp_path, metric="seconds")
    folder.write_provenance(provenance | {"device": None})
    with pytest.raises(UserError, match="b1 does not say its device"):
        compare_runs([str(tmp_path)], runs=tmp_path, metric="seconds")


def corrupted(root, means, n=(100, 100)):
    for row, changes in enumerate(({}, {"optimizer.lr": 0.3})):
        for seed in range(3):
            path = make_run(root / f"{row}{seed}", 0.9, seed=seed, changes=changes)
            shift = {"mean": means[row] + seed / 100 + row * seed**2 / 1000, "n": n[row]}
            RunFolder(path).write_evaluation("test", {"shift": shift})
    return root


def test_accuracy_under_corruptions_is_compared(tmp_path):
    runs = corrupted(tmp_path, (0.6, 0.7))
    comparison = compare_runs([str(runs)], runs=runs, metric="corruption")
    assert comparison.rows[1].verdict == "better" and comparison.split == "test"
    assert "Test accuracy under corruptions in per cent" in markdown(comparison)
    RunFolder(runs / "11").write_evaluation("test", {})
    with pytest.raises(UserError, match="11 was not measured on corrupted test") as caught:
        compare_runs([str(runs)], runs=runs, metric="corruption")
    assert caught.value.hint.endswith("11 --full --split test")


def test_corruptions_of_other_images_are_refused(tmp_path):
    runs = corrupted(tmp_path, (0.6, 0.7), n=(100, 200))
    with pytest.raises(UserError, match="different numbers of corrupted test images"):
        compare_runs([str(runs)], runs=runs, metric="corruption")


def with_accuracies(root, differences):
    """Runs of two recipes whose accuracies differ by these."""
    for seed, difference in enumerate(differences):
        for name, gain, changes in (("a", 0, {}), ("b", difference, {"optimizer.lr": 0.3})):
            make_run(root / f"{name}{seed}", 0.9 + gain, seed=seed, changes=changes)
    return root


NOISE = np.array([0.0002, -0.0001, 0.0003, -0.0002, 0.0001])


@pytest.mark.parametrize(
    ("shift", "words"),
    [
        (0.0, "the same within 0.2 points"),
        (0.0025, "not worse by more than 0.2 points"),
        (-0.0025, "not shown to be within 0.2 points"),
    ],
)
def test_a_margin_says_whether_a_row_may_stand_for_the_baseline(tmp_path, shift, words):
    runs = with_accuracies(tmp_path, NOISE + shift)
    comparison = compare_runs([str(runs)], runs=runs, margin=0.2)
    (row,) = comparison.margin_rows
    assert row.verdict == words and row.speedup is None  # nothing says on what device they ran
    assert words in markdown(comparison)


def test_a_margin_stands_beside_the_seconds_and_the_size(tmp_path):
    comparison = compare_runs([str(timed(tmp_path, (1.7, 1.0)))], runs=tmp_path, margin=0.2)
    (row,) = comparison.margin_rows
    assert row.speedup == pytest.approx(1.7, rel=0.01) and row.size == 2
    assert row.speedup_interval[0] < row.speedup < row.speedup_interval[1]
    assert row.verdict.startswith("1.7 times as fast (") and "2 times the parameters" in row.verdict


def test_a_faster_row_with_equal_answers_may_stand_for_the_baseline(tmp_path):
    for name in timed(tmp_path, (1.7, 1.0)).glob("*/provenance.json"):
        assert "device" in name.read_text()
    comparison = compare_runs([str(tmp_path)], runs=tmp_path, margin=0.2)
    assert comparison.rows[1].verdict == "the same within 0.2 points"
    (row,) = comparison.margin_rows
    assert row.verdict.startswith("1.7 times as fast (")
    assert row.verdict.endswith("and the same within 0.2 points") and row.not_worse_p == 0


def test_less_is_better_turns_the_margin_around(tmp_path):
    runs = with_accuracies(tmp_path, NOISE + 0.0025)  # a lower log loss, which is better
    comparison = compare_runs([str(runs)], runs=runs, metric="log_loss", margin=0.002)
    assert comparison.margin_rows[0].verdict == "not worse by more than 0.002"


@pytest.mark.parametrize("margin", [0, -1, float("nan")])
def test_a_margin_is_above_zero(root, margin):
    with pytest.raises(UserError, match="is not above 0"):
        compare_runs([str(root)], runs=root, margin=margin)
