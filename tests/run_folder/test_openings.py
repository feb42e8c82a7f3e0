"""The openings of a test split over many runs: counted once, fast, and none where none were."""

import json
import time

import pytest
from made_study import make_run

from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.openings import count_openings, find_runs, read_recipe_text


def open_test(path, *openers, time="2026-02-02T00:00:00+00:00"):
    folder = RunFolder(path)
    openings = [{"time": time, "opener": opener} for opener in openers]
    folder.write_provenance({**folder.provenance(), "test_openings": openings})
    return path


DATA = "images of digits"


def test_openings_and_recipes_are_counted(tmp_path):
    for seed in range(2):
        open_test(make_run(tmp_path / f"plain-{seed}", seed=seed), "train", "evaluate")
    renamed = {"name": "another-name"}
    open_test(make_run(tmp_path / "studies" / "s" / "named", seed=7, changes=renamed), "train")
    open_test(make_run(tmp_path / "adam", changes={"optimizer.kind": "adam"}), "train")
    make_run(tmp_path / "closed", changes={"optimizer.kind": "adagrad"})
    open_test(make_run(tmp_path / "audited", changes={"optimizer.lr": 0.3}), "audit")
    open_test(make_run(tmp_path / "elsewhere", changes={"optimizer.lr": 0.4}, data="x"), "train")
    runs = list(find_runs(tmp_path))
    assert len(runs) == 7
    openings = count_openings([*runs, *runs], DATA)
    assert (openings.total(), len(openings)) == (6, 2)
    assert count_openings(runs, "images of x").total() == 1
    assert not count_openings(runs, "other")


def test_damaged_and_missing_runs_are_left_out(tmp_path):
    open_test(make_run(tmp_path / "plain"), "train")
    (open_test(make_run(tmp_path / "torn"), "train") / "provenance.json").write_text("{")
    (open_test(make_run(tmp_path / "cut"), "train") / "recipe.yaml").write_text("name: x")
    (tmp_path / "empty").mkdir()
    runs = [*find_runs(tmp_path), tmp_path / "nowhere", tmp_path / "empty"]
    openings = count_openings(runs, DATA)
    # the recipe that was cut is one of its own: it was judged, too
    assert len(openings) == 2 and openings[str(tmp_path / "cut")] == 1
    assert list(find_runs(tmp_path / "nowhere")) == []
    assert not (tmp_path / "nowhere").exists()


def test_a_thousand_runs_take_a_second(tmp_path):
    first = open_test(make_run(tmp_path / "0"), "train")
    recipe, provenance = ((first / name).read_text() for name in ("recipe.yaml", "provenance.json"))
    for number in range(1, 1000):
        folder = tmp_path / str(number)
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "recipe.yaml").write_text(recipe.replace("lr: 0.1", f"lr: 0.1{number}", 1))
        (folder / "provenance.json").write_text(provenance)
    start = time.perf_counter()
    openings = count_openings(find_runs(tmp_path), DATA)
    assert time.perf_counter() - start < 2  # 1 on a machine that does nothing else
    assert (openings.total(), len(openings)) == (1000, 1000)


def test_later_openings_and_other_images_of_the_same_data_are_left_out(tmp_path):
    early = open_test(make_run(tmp_path / "early"), "train", time="2026-01-01T00:00:00+00:00")
    open_test(make_run(tmp_path / "late", changes={"optimizer.lr": 0.3}), "train")
    runs = [*find_runs(tmp_path)]
    assert count_openings(runs, DATA, "images").total() == 2
    assert not count_openings(runs, DATA, "of another split_seed")
    (earlier,) = count_openings(runs, DATA, "images", before="2026-02-02T00:00:00+00:00")
    assert earlier == read_recipe_text(RunFolder(early)).digest
    (early / "result.json").unlink()  # killed after the opening: nobody knows of which images
    assert count_openings(runs, DATA, "of another split_seed").total() == 1


@pytest.mark.parametrize("seed", [0, 3])
def test_the_text_of_a_recipe_is_that_of_its_value(tmp_path, seed):
    path = make_run(tmp_path / "run", seed=seed, changes={"name": "mine/it"})
    text = read_recipe_text(RunFolder(path))
    assert (text.name, text.seed) == ("mine/it", seed)
    assert json.dumps(text.key) and "optimizer:" in text.key and "mine/it" not in text.key
