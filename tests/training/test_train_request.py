"""From a command line of ``cifarlab train`` to a request: recipe, folder, new or going on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import apply_overrides, to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.training.request import resolve_request


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def begin_run(*assignments: str, complete: bool = False) -> RunFolder:
    """A run of quickstart in its default folder, as far as ``resolve_request`` reads it."""
    request = resolve_request("quickstart", assignments)
    request.folder.write_recipe(request.recipe)
    if complete:
        request.folder.write_result({})
    return request.folder


def test_a_new_run_goes_under_runs() -> None:
    request = resolve_request("quickstart", ["seed=3"])
    assert request.recipe == apply_overrides(find("quickstart"), ["seed=3"])
    assert request.folder.path.parent == Path("runs")
    assert request.folder.path.name.startswith("quickstart-s3-")
    assert not request.resume


def test_the_same_words_again_make_a_second_run() -> None:
    first = begin_run()
    assert resolve_request("quickstart").folder.path.name == f"{first.path.name}-2"


def test_resume_finds_the_newest_unfinished_run() -> None:
    begin_run(complete=True)
    second = begin_run()
    begin_run(complete=True)
    request = resolve_request("quickstart", resume=True)
    assert (request.folder.path, request.resume) == (second.path, True)


def test_resume_without_an_unfinished_run_takes_one_without_its_report() -> None:
    """Killed, or out of disk, while the report was drawn: who types the same words again is met."""
    folder = begin_run(complete=True)
    request = resolve_request("quickstart", resume=True)
    assert (request.folder.path, request.resume, request.report_only) == (folder.path, True, True)
    folder.report.parent.mkdir()
    folder.report.touch()
    with pytest.raises(RunFolderError, match="no unfinished run of quickstart"):
        resolve_request("quickstart", resume=True)
    assert not resolve_request("quickstart", run=folder.path, resume=True).report_only
    os.utime(folder.report, ns=(0, 0))  # drawn before the run ended
    assert resolve_request("quickstart", run=folder.path, resume=True).report_only
    unfinished = begin_run()
    request = resolve_request("quickstart", resume=True)
    assert (request.folder.path, request.report_only) == (unfinished.path, False)


def test_resume_passes_over_a_folder_that_holds_something_else() -> None:
    """The default folder's name is taken by other files, so the run went to the next."""
    other = resolve_request("quickstart").folder.path
    other.mkdir(parents=True)
    (other / "notes.txt").write_text("not a run")
    mine = begin_run()
    assert mine.path != other
    assert resolve_request("quickstart", resume=True).folder.path == mine.path


def test_settings_are_part_of_which_run_is_meant() -> None:
    begin_run("seed=1")
    with pytest.raises(RunFolderError, match="no unfinished run of quickstart"):
        resolve_request("quickstart", resume=True)
    assert resolve_request("quickstart", ["seed=1"], resume=True).recipe.seed == 1


def test_resume_takes_the_folders_own_recipe(tiny: Callable[..., Recipe]) -> None:
    folder = RunFolder("here")
    folder.write_recipe(tiny({"seed": 7}))
    assert resolve_request("tiny", run=folder.path, resume=True).recipe == tiny({"seed": 7})
    assert resolve_request("tiny", ["seed=7"], run=folder.path, resume=True).recipe.seed == 7


def test_resume_with_other_settings_is_refused(tiny: Callable[..., Recipe]) -> None:
    RunFolder("here").write_recipe(tiny())
    with pytest.raises(RunFolderError, match="other settings than seed=7"):
        resolve_request("tiny", ["seed=7"], run=Path("here"), resume=True)


def test_resume_with_another_recipe_is_refused(tiny: Callable[..., Recipe]) -> None:
    RunFolder("here").write_recipe(tiny())
    with pytest.raises(RunFolderError, match="begun with the recipe tiny, not quickstart"):
        resolve_request("quickstart", run=Path("here"), resume=True)


def test_resume_by_the_recipe_file(tiny: Callable[..., Recipe]) -> None:
    RunFolder("here").write_recipe(tiny())
    Path("tiny.yaml").write_text(to_yaml(tiny()))
    assert resolve_request("tiny.yaml", run=Path("here"), resume=True).recipe == tiny()


def test_a_recipe_file_edited_since_is_refused(tiny: Callable[..., Recipe]) -> None:
    """Nobody edits a file to have the old settings trained on."""
    RunFolder("here").write_recipe(tiny())
    Path("tiny.yaml").write_text(to_yaml(tiny({"optimizer.lr": 0.01})))
    with pytest.raises(RunFolderError, match=r"other settings than tiny\.yaml"):
        resolve_request("tiny.yaml", run=Path("here"), resume=True)


@pytest.mark.parametrize("path", ["photos #1.zip", "2024", "~", "no", "a: b", "[x].zip"])
def test_a_path_is_taken_as_it_is(path: str) -> None:
    """Not as YAML, which would make another path of it, or a number, or nothing."""
    assert resolve_request("quickstart", data=path).recipe.data.source.path == path


def test_other_data_on_resume_are_refused(tiny: Callable[..., Recipe]) -> None:
    RunFolder("here").write_recipe(tiny())
    with pytest.raises(RunFolderError, match="other settings than --data cifar10"):
        resolve_request("tiny", data="cifar10", run=Path("here"), resume=True)


def test_resume_where_no_run_is() -> None:
    with pytest.raises(RunFolderError, match="no run folder"):
        resolve_request("quickstart", run=Path("nowhere"), resume=True)


def test_extend_finds_the_newest_finished_run(finished: RunFolder) -> None:
    recipe = finished.recipe()
    Path("tiny.yaml").write_text(to_yaml(recipe))
    target = resolve_request("tiny.yaml").folder.path
    shutil.copytree(finished.path, target)
    request = resolve_request("tiny.yaml", extend="1 epoch", schedule="hold")
    assert request.resume
    assert request.folder.path == target.with_name(f"{target.name}+1-epoch-hold")
    assert [str(e.duration) for e in request.recipe.training.extensions] == ["1 epoch"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resume": True, "extend": "1 epoch", "schedule": "hold"}, "resume"),
        ({"schedule": "hold"}, "schedule"),
    ],
    ids=["resume with extend", "schedule without extend"],
)
def test_options_that_contradict_each_other_are_refused(options: dict, message: str) -> None:
    """No option is ignored in silence."""
    begin_run(complete=True)
    with pytest.raises(UserError, match=message):
        resolve_request("quickstart", **options)
