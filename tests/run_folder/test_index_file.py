"""What the index keeps in the folder saves reading, and says what reading would."""

import json
import os
import shutil
import time
from pathlib import Path

import pydantic.version
import pytest
import yaml
from made_study import make_run

from cifarlab.recipes import text as text_module
from cifarlab.run_folder import index as index_module
from cifarlab.run_folder import index_file, schemas, values
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import Entry, RunIndex
from cifarlab.system import files, formatting
from cifarlab.system.errors import StorageError

N = 30


@pytest.fixture(scope="module")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "runs"
    for seed in range(N):
        changes = {"optimizer.lr": 0.1 + seed // 10}
        make_run(root / f"run-{seed:02d}", 0.5 + seed / 100, seed=seed, changes=changes)
    return root


@pytest.fixture
def root(made_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made_runs, tmp_path / "runs"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The runs that were read from their own files."""
    paths: list[str] = []
    real = index_module.read_entry
    monkeypatch.setattr(
        index_module, "read_entry", lambda path, name: paths.append(name) or real(path, name)
    )
    return paths


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files count as old at once."""
    monkeypatch.setattr(index_file, "_GRAIN_NS", -1)


def entries(root: Path, **options) -> dict[str, Entry]:
    return {run.url_path: run for run in RunIndex(root, **options).listing().runs}


def test_runs_are_read_once_and_come_back_the_same(root, reads, monkeypatch):
    settle(monkeypatch)
    first = entries(root, writes=True)
    assert len(reads) == N
    assert entries(root) == first and len(reads) == N
    assert first["run-03"].values["test.accuracy"] == pytest.approx(0.53)


def test_few_runs_are_not_written_down(root, reads, monkeypatch):
    settle(monkeypatch)
    monkeypatch.setattr(index_file, "_WORTH_WRITING", N)
    entries(root, writes=True)
    entries(root)
    assert len(reads) == 2 * N and not (root / ".runs-index").exists()


def test_without_leave_nothing_is_written(root, monkeypatch):
    settle(monkeypatch)
    names = {path.name for path in root.iterdir()}
    RunIndex(root).recipes(RunIndex(root).listing().runs)
    assert {path.name for path in root.iterdir()} == names


def rewrite(file: Path, old: str, new: str) -> None:
    """Change a file in place: same length, same number on the disk."""
    assert len(old) == len(new) and old in file.read_text()
    with file.open("r+") as stream:
        text = stream.read().replace(old, new)
        stream.seek(0)
        stream.write(text)


@pytest.mark.parametrize("name", ["result.json", "recipe.yaml", "provenance.json", "format.json"])
def test_a_change_that_keeps_size_and_time_is_noticed(root, reads, monkeypatch, name):
    """A copy may set the time of the content back; the time of the change it can't."""
    settle(monkeypatch)
    old, new = {
        "result.json": ("0.53", "0.99"),
        "recipe.yaml": ("seed: 3", "seed: 4"),
        "provenance.json": ("images of", "others of"),
        "format.json": ("1", "7"),
    }[name]
    before = entries(root, writes=True)
    reads.clear()
    status = (root / "run-03" / name).stat()
    rewrite(root / "run-03" / name, old, new)
    os.utime(root / "run-03" / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (root / "run-03" / name).stat().st_mtime_ns == status.st_mtime_ns
    after = entries(root)
    assert reads == ["run-03"] and after["run-03"] != before["run-03"]


def test_a_file_that_changes_again_within_the_grain_of_its_times_is_read_again(
    root, reads, monkeypatch
):
    """Two changes may have one time: what was young when it was read is not written down."""
    now = index_file._disk_time(root / ".runs-index")
    assert now is not None
    old = entries(root, writes=True)
    reads.clear()
    stamps = index_module.file_stamp

    def coarse(path):
        """A disk whose times have a grain of ten minutes."""
        stamp = stamps(path)
        return stamp and (0, now // 600_000_000_000 * 600_000_000_000, *stamp[2:])

    monkeypatch.setattr(index_module, "file_stamp", coarse)
    monkeypatch.setattr(index_file, "_GRAIN_NS", 600_000_000_000)
    entries(root, writes=True)
    rewrite(root / "run-03" / "result.json", "0.53", "0.99")
    assert entries(root)["run-03"].test == pytest.approx(0.99) != old["run-03"].test
    # and without the rule it would be missed: the test can fail
    settle(monkeypatch)
    entries(root, writes=True)
    rewrite(root / "run-03" / "result.json", "0.99", "0.12")
    assert entries(root)["run-03"].test == pytest.approx(0.99)


def test_a_result_that_comes_or_goes_is_noticed(root, monkeypatch):
    settle(monkeypatch)
    entries(root, writes=True)
    (root / "run-03" / "result.json").unlink()
    shutil.rmtree(root / "run-04")
    after = entries(root)
    assert not after["run-03"].is_finished and len(after) == N - 1


def test_a_copied_or_renamed_run_is_another(root, monkeypatch):
    settle(monkeypatch)
    entries(root, writes=True)
    (root / "run-03").rename(root / "old")
    (root / "run-04").rename(root / "run-03")
    after = entries(root)
    assert after["old"].test == pytest.approx(0.53)
    assert after["run-03"].test == pytest.approx(0.54)


def test_other_code_starts_anew(root, reads, monkeypatch):
    settle(monkeypatch)
    entries(root, writes=True)
    monkeypatch.setattr(index_file, "_reader", lambda: "other code")
    reads.clear()
    entries(root)
    assert len(reads) == N


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("{", "<"),
        lambda text: text.replace("[", "{"),
        lambda _: "",
        lambda text: text.split("\n")[0] + "\nrun-03\t[]\t[1, 2]\n\t\t\nrun-04",
        lambda text: text.replace("0.53", "0.54"),
    ],
)
def test_a_damaged_file_is_as_if_it_were_not_there(root, monkeypatch, spoil):
    settle(monkeypatch)
    sound = entries(root, writes=True)
    file = root / ".runs-index"
    file.write_text(spoil(file.read_text()))
    assert entries(root) == sound


def test_a_damaged_run_is_read_each_time(root, reads, monkeypatch):
    settle(monkeypatch)
    (root / "run-03" / "result.json").write_text("{")
    entries(root, writes=True)
    reads.clear()
    assert "can't read" in entries(root)["run-03"].problem and reads == ["run-03"]


def test_a_folder_that_can_not_be_written_is_read(root, reads, monkeypatch):
    settle(monkeypatch)

    def refuse(*_args: object) -> None:
        raise StorageError("can't write", "choose another path")

    monkeypatch.setattr(index_file, "_disk_time", lambda _: None)
    monkeypatch.setattr(index_file, "write_text", refuse)
    assert len(entries(root, writes=True)) == N
    assert not (root / ".runs-index").exists()


def test_known_runs_are_not_looked_into(root, monkeypatch):
    """Reading the names of 5,000 folders takes as long as all their stamps."""
    settle(monkeypatch)
    entries(root, writes=True)
    folders, real = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: folders.append(str(path)) or real(path))
    assert len(entries(root)) == N and folders == [f"{root}/"]
    make_run(root / "new", 0.5, seed=99)
    folders.clear()
    assert len(entries(root)) == N + 1 and folders == [f"{root}/", f"{root}/new"]


def test_a_run_that_becomes_a_study_is_noticed(root, monkeypatch):
    settle(monkeypatch)
    entries(root, writes=True)
    (root / "run-03" / "study.json").write_text("{}")
    listing = RunIndex(root).listing()
    assert listing.studies == ("run-03",) and len(listing.runs) == N - 1


def test_a_list_in_memory_reads_young_runs_again(root, reads, monkeypatch):
    """Of a change within the grain of a file's times the stamps say nothing."""
    stamps = index_module.file_stamp

    def coarse(path):
        """A disk on which all files changed just now."""
        stamp = stamps(path)
        return stamp and (time.time_ns() // 10**13 * 10**13, 0, *stamp[2:])

    monkeypatch.setattr(index_module, "file_stamp", coarse)
    monkeypatch.setattr(index_file, "_GRAIN_NS", 10**13)
    index = RunIndex(root)
    index.listing()
    rewrite(root / "run-03" / "result.json", "0.53", "0.99")
    runs = {run.url_path: run for run in index.listing().runs}
    assert runs["run-03"].test == pytest.approx(0.99)
    settle(monkeypatch)
    index.listing()
    reads.clear()
    index.listing()
    assert reads == []


def test_all_code_that_reads_runs_counts(root, monkeypatch, tmp_path):
    """A mended parser would leave what the old one read."""
    entries(root)
    sources = {file.resolve() for file in index_file._sources()}
    readers = (index_module, index_file, files, formatting, text_module, schemas, values, yaml)
    assert {Path(str(module.__file__)).resolve() for module in readers} <= sources
    assert Path(pydantic.version.__file__).resolve() in sources
    file = tmp_path / "made_source.py"
    monkeypatch.setattr(index_file, "_sources", lambda: [file])
    digests = set()
    for content in ("a = 1", "a = 2"):
        file.write_text(content)
        digests.add(index_file._reader.__wrapped__())
    assert len(digests) == 2


def test_settings_are_kept_by_the_text_that_they_stand_for(root, monkeypatch):
    settle(monkeypatch)
    monkeypatch.setattr(index_file, "_WORTH_WRITING", 2)
    index = RunIndex(root, writes=True)
    runs = index.listing().runs
    settings = index.recipes(runs)
    assert len(settings) == 3
    assert sorted(values["optimizer.lr"] for values in settings.values()) == [0.1, 1.1, 2.1]
    monkeypatch.setattr(text_module, "parse_yaml", lambda _: {})
    assert RunIndex(root).recipes(runs) == settings
    file = root / "run-03" / "recipe.yaml"
    file.write_text(file.read_text().replace("lr: 0.1", "lr: 0.7"))
    changed = RunIndex(root).listing().runs[3]
    assert changed.digest not in settings


def test_a_recipe_that_is_replaced_meanwhile_gives_no_settings_to_the_old_text(root, monkeypatch):
    monkeypatch.setattr(index_file, "_WORTH_WRITING", 0)
    index = RunIndex(root, writes=True)
    (run,) = [run for run in index.listing().runs if run.url_path == "run-03"]
    file = root / "run-03" / "recipe.yaml"
    old = file.read_text()
    file.write_text(old.replace("lr: 0.1", "lr: 0.7"))
    assert index.recipes([run])[run.digest] == {}
    file.write_text(old)
    assert RunIndex(root).recipes([run])[run.digest]["optimizer.lr"] == 0.1


def test_dates_and_odd_values_of_a_recipe_do_no_harm(root):
    file = root / "run-03" / "recipe.yaml"
    file.write_text(file.read_text() + "when: 2026-01-01\n7: {null: .nan, deep: [{a: 1}]}\n")
    index = RunIndex(root)
    (run,) = [run for run in index.listing().runs if run.url_path == "run-03"]
    values = index.recipes([run])[run.digest]
    assert values["when"] == "2026-01-01" and values["7.deep"] == [{"a": 1}]


def test_an_entry_is_its_text(root):
    entry = RunIndex(root).listing().runs[0]
    assert Entry.from_json(entry.to_json(), entry.facts) == entry
    for text in ("[]", "{", json.dumps([1] * 99), json.dumps([1] * (len(vars(entry)) - 1))):
        assert Entry.from_json(text, "{}") is None


def test_unfinished_runs_are_read_again_as_they_grow(root, monkeypatch):
    settle(monkeypatch)
    folder = RunFolder(make_run(root / "young", None, seed=99))
    folder.metrics.append({"epoch": 1})
    assert entries(root, writes=True)["young"].epochs == 1
    folder.metrics.append({"epoch": 2})
    assert entries(root)["young"].epochs == 2
