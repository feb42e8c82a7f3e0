"""The folders of runs where no path is given, and the latest one."""

import pytest

from cifarlab.recipes.text import build, change, fingerprint
from cifarlab.run_folder.naming import latest_folder, new_folder
from cifarlab.system.errors import RunFolderError

RECIPE = build({"name": "fudan/resnet10", "seed": 3})
NAME = f"fudan-resnet10-s3-{fingerprint(RECIPE)[:8]}"


def start_run(runs, finished):
    folder = new_folder(RECIPE, runs)
    folder.write_recipe(RECIPE)
    if finished:
        folder.write_result({})
    return folder.path.name


def test_each_run_of_a_recipe_gets_a_folder_of_its_own(tmp_path):
    assert [start_run(tmp_path, False) for _ in range(3)] == [NAME, f"{NAME}-2", f"{NAME}-3"]


def test_another_setting_gets_another_name(tmp_path):
    other = change(RECIPE, {"optimizer.lr": 0.2})
    assert new_folder(other, tmp_path).path.name != NAME


def test_the_newest_of_each_state(tmp_path):
    names = [start_run(tmp_path, finished) for finished in (True, False, True, False, False)]
    assert latest_folder(RECIPE, is_finished=True, runs=tmp_path).path.name == names[2]
    assert latest_folder(RECIPE, is_finished=False, runs=tmp_path).path.name == names[4]


@pytest.mark.parametrize("finished", [True, False])
def test_none_of_that_state(tmp_path, finished):
    start_run(tmp_path, not finished)
    state = "finished" if finished else "unfinished"
    with pytest.raises(RunFolderError, match=f"there is no {state} run of fudan/resnet10"):
        latest_folder(RECIPE, is_finished=finished, runs=tmp_path)
