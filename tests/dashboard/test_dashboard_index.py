"""What lies in a folder of runs: the list, and how little is read for it."""

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from made_run import RECIPE, Plan, digits, make

from cifarlab.dashboard.index import Index, MissingFolderError
from cifarlab.run_folder import index as index_module
from cifarlab.run_folder import index_file
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import Entry
from cifarlab.system.errors import RunFolderError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two finished runs of one recipe, one in training, one within a study."""
    runs = tmp_path / "runs"
    make(runs / "a-s0", Plan(n=200))
    make(runs / "a-s1", Plan(n=200, seed=1))
    make(runs / "young", digits(finished=False))
    make(runs / "studies" / "s" / "row-s0", digits(n=100))
    (runs / "studies" / "s" / "study.json").write_text("{}")
    return runs


def entries(root: Path) -> dict[str, Entry]:
    return {entry.url_path: entry for entry in Index(root).listing().runs}


def test_a_finished_run_is_listed_with_its_result(root):
    entry, result = entries(root)["a-s1"], RunFolder(root / "a-s1").result()
    assert (entry.recipe, entry.seed, entry.data) == ("made/up", 1, "CIFAR-10")
    assert entry.test == result["test"]["accuracy"] and entry.val == result["val"]["accuracy"]
    assert entry.interval == tuple(result["test"]["interval"])
    assert (entry.epochs, entry.seconds, entry.parameters) == (8, 412.0, 4903242)
    assert entry.is_finished and entry.state(time.time()) == "finished"


def test_seeds_of_one_recipe_are_one_group_and_other_recipes_others(root):
    make(root / "other", Plan(n=200, changes=(("optimizer.lr", 0.01),)))
    make(root / "elsewhere", Plan(n=200, data="photos"))
    by_url_path = entries(root)
    assert by_url_path["a-s0"].group == by_url_path["a-s1"].group
    groups = {by_url_path[name].group for name in ("a-s0", "young", "other", "elsewhere")}
    assert len(groups) == 4


def test_the_same_recipe_on_images_that_changed_is_another_group(root):
    make(root / "changed", Plan(n=200, images="a third less"))
    by_url_path = entries(root)
    assert by_url_path["changed"].group != by_url_path["a-s0"].group


@pytest.mark.parametrize("stop_reason", ["max_time", "stopped"])
def test_a_run_that_something_ended_early_says_so(root, stop_reason):
    make(root / "early", Plan(n=200, stop_reason=stop_reason))
    entry = entries(root)["early"]
    assert entry.state(time.time()) == "ended early" and "after 8 epochs" in entry.early_end


def test_groups_of_one_name_are_named_by_their_differences(root):
    for lr, seed in ((0.1, 0), (0.2, 0), (0.2, 1)):
        changes = tuple((RECIPE | {"optimizer.lr": lr}).items())
        make(root / f"lr-{lr}-s{seed}", Plan(n=200, seed=seed, changes=changes))
    shutil.rmtree(root / "young"), shutil.rmtree(root / "studies")
    index = Index(root)
    runs = index.listing().runs
    names = index.group_names(runs)
    by_url_path = {run.url_path: names[run.group] for run in runs}
    assert by_url_path["lr-0.1-s0"] == "made/up optimizer.lr=0.1"
    assert by_url_path["lr-0.2-s0"] == by_url_path["lr-0.2-s1"] == "made/up optimizer.lr=0.2"
    assert by_url_path["a-s0"] == by_url_path["a-s1"] == "made/up optimizer.lr=0.05"
    only_run = [run for run in runs if run.url_path == "lr-0.1-s0"]
    assert list(index.group_names(only_run).values()) == ["made/up"]


def test_a_recipe_that_can_not_be_read_is_named_by_its_folder(root):
    make(root / "other", Plan(n=200, changes=(("optimizer.lr", 0.01),)))
    file = root / "other" / "recipe.yaml"
    file.write_text(file.read_text().replace("lr: 0.01", "lr: [0.01"))
    index = Index(root)
    assert "made/up other" in index.group_names(index.listing().runs).values()


def test_an_unfinished_run_shows_its_last_epoch(root):
    entry, lines = entries(root)["young"], RunFolder(root / "young").metrics.read()
    assert entry.epochs == lines[-1]["epoch"] == 6
    assert entry.val == lines[-1]["val"]["accuracy"] and entry.test is None


def test_training_is_what_wrote_within_three_epochs(root):
    entry = entries(root)["young"]
    assert entry.state(entry.last_modified + 100) == "training"  # 51.5 s per epoch
    assert entry.state(entry.last_modified + 200) == "stopped"
    slow = replace(entry, pace=1000.0)
    assert slow.state(entry.last_modified + 2900) == "training"


def test_studies_and_searches_are_recognized_by_their_files(root):
    (root / "searches" / "wide" / "figures").mkdir(parents=True)
    (root / "searches" / "wide" / "figures" / "course.svg").write_text("")
    (root / "searches" / "wide" / "search.json").write_text("{}")
    listing = Index(root).listing()
    assert (listing.studies, listing.searches) == (("studies/s",), ("searches/wide",))
    assert "studies/s/row-s0" in {run.url_path for run in listing.runs}
    assert not listing.unrecognized_entries


def test_the_folder_may_be_a_run_itself(root):
    assert list(entries(root / "a-s0")) == [""]


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda run: (run / "recipe.yaml").unlink(), "no recipe.yaml"),
        (lambda run: (run / "recipe.yaml").write_text("name: x\nseed: 0\n"), "torn"),
        (lambda run: (run / "recipe.yaml").write_bytes(b"\xff\xfe\x00"), "can't be read"),
        (lambda run: (run / "result.json").write_text('{"recipe": "x", "te'), "can't read"),
        (lambda run: (run / "result.json").write_text("[]"), "no JSON object"),
        (lambda run: (run / "result.json").write_text("[" * 100_000), "nested too deep"),
        (
            lambda run: (run / "result.json").write_text('{"stop_reason": 3}'),
            "stop_reason: input should be",
        ),
        (lambda run: (run / "result.json").unlink() or (run / "result.json").mkdir(), "can't read"),
    ],
)
def test_a_torn_folder_is_listed_with_its_reason(root, spoil, reason):
    spoil(root / "a-s0")
    listing = Index(root).listing()
    torn = next(run for run in listing.runs if run.url_path == "a-s0")
    assert torn.state(0) == "damaged" and reason in torn.problem
    assert ("a-s0", torn.problem) in listing.unrecognized_entries
    assert len(listing.runs) == 4  # the others are whole


def test_a_torn_metrics_log_of_an_unfinished_run_is_its_problem(root):
    with (root / "young" / "metrics.jsonl").open("a") as file:
        file.write("no line\n")
    assert "line 7 is damaged" in entries(root)["young"].problem


def test_invalid_values_in_a_result_are_left_out(root):
    file = root / "a-s0" / "result.json"
    tree = json.loads(file.read_text())
    file.write_text(json.dumps(tree | {"test": [1], "epochs": "many", "cost": 3, "data": {"a": 1}}))
    entry = entries(root)["a-s0"]
    assert (entry.test, entry.epochs, entry.seconds, entry.problem) == (None, None, None, "")


def test_foreign_folders_are_reported_but_no_empty_or_hidden_ones(root):
    (root / "photos").mkdir()
    (root / "photos" / "cat.jpg").write_bytes(b"")
    (root / "empty").mkdir()
    (root / ".hidden").mkdir()
    (root / ".hidden" / "x").write_text("")
    assert [url_path for url_path, _ in Index(root).listing().unrecognized_entries] == ["photos"]


def test_a_folder_whose_name_is_not_utf_8_is_reported_and_can_be_shown(root):
    make(root / "odd\udcff", Plan(n=100))
    listing = Index(root).listing()
    assert listing.unrecognized_entries == (("odd\\udcff", "its name is not UTF-8: rename it"),)
    assert len(listing.runs) == 4
    json.dumps(listing.unrecognized_entries, ensure_ascii=False).encode()


def test_a_recipe_of_very_many_spaces_or_digits_takes_no_time(root):
    for text in ("name: a" + " " * 500_000 + "b\n", f"name: a\nseed: {'9' * 5000}\n"):
        (root / "a-s0" / "recipe.yaml").write_text(text)
        began = time.process_time()
        assert "torn" in entries(root)["a-s0"].problem
        assert time.process_time() - began < 5


def test_a_run_that_begins_is_not_reported(root):
    (root / "new").mkdir()
    (root / "new" / ".lock").write_text("")
    (root / "new" / ".recipe.yaml.7.part").write_text("nam")
    assert not Index(root).listing().unrecognized_entries


def test_links_are_not_followed(root, tmp_path):
    make(tmp_path / "outside", Plan(n=100))
    (root / "link").symlink_to(tmp_path / "outside")
    (root / "loop").symlink_to(root)
    assert not {"link", "loop"} & set(entries(root))


def test_the_root_of_everything_is_not_walked_for_ever(root, monkeypatch):
    monkeypatch.setattr(index_module, "MAX_FOLDERS", 2)
    (_, reason), *_ = Index(root).listing().unrecognized_entries
    assert "first 2 folders" in reason


def test_only_what_changed_is_read_again(root, monkeypatch):
    monkeypatch.setattr(index_file, "_GRAIN_NS", -1)  # files count as old at once
    read, real = [], index_module.read_entry
    monkeypatch.setattr(
        index_module,
        "read_entry",
        lambda path, url_path: read.append(url_path) or real(path, url_path),
    )
    index = Index(root)
    index.listing()
    assert len(read) == 4
    index.listing()
    assert len(read) == 4
    RunFolder(root / "young").metrics.append({"epoch": 7, "val": None})
    assert {run.url_path: run.epochs for run in index.listing().runs}["young"] == 7
    assert read[4:] == ["young"]


def test_a_deleted_run_leaves_the_list_and_the_memory(root):
    index = Index(root)
    index.listing()
    for file in sorted((root / "young").rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    (root / "young").rmdir()
    assert "young" not in {run.url_path for run in index.listing().runs}
    assert index._entries and "young" not in index._entries


def test_reading_changes_nothing_and_needs_no_lock(root):
    def state() -> dict[str, tuple[int, int]]:
        return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in root.rglob("*")}

    with RunFolder(root / "young").lock():
        before = state()
        listing = Index(root).listing()
        assert state() == before
    assert len(listing.runs) == 4


@pytest.mark.parametrize(
    "url_path", ["..", "../..", "/etc", "a-s0/../../x", "none", "a\0b", "x" * 5000]
)
def test_addresses_lead_nowhere_but_under_the_root(root, url_path):
    with pytest.raises(RunFolderError, match="there is no folder"):
        Index(root).path(url_path)


@pytest.mark.parametrize(
    ("url_path", "kind"), [("studies/s", "run"), ("a-s0", "study"), ("studies/s", "search")]
)
def test_a_folder_of_another_kind_is_refused(root, url_path, kind):
    with pytest.raises(MissingFolderError, match=f"is no {kind}"):
        Index(root).path(url_path, kind)
    assert Index(root).path(url_path).is_dir()


def test_an_address_is_the_way_back_to_its_folder(root):
    index = Index(root)
    for run in index.listing().runs:
        assert index.url_path(index.path(run.url_path)) == run.url_path


def test_a_line_that_is_being_written_is_not_read(root):
    metrics = RunFolder(root / "young").metrics
    with metrics.path.open("a") as file:
        file.write('{"epoch": 99, "torn')
    assert entries(root)["young"].epochs == metrics.read()[-1]["epoch"] == 6
    metrics.append({"epoch": 7})  # ends the torn line: damaged
    assert "line 7 is damaged" in entries(root)["young"].problem


def test_an_unreadable_folder_is_reported(root, monkeypatch):
    real = os.scandir

    def refusing(path):
        if Path(path).name == "studies":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert ("studies", "can't be read: Permission denied") in Index(
        root
    ).listing().unrecognized_entries
