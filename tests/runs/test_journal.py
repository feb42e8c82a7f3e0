"""The journal: what was written is read, what was torn is left out, what is damaged is said."""

import json

import pytest

from cifarlab.runs.metrics_log import Journal, without_cost
from cifarlab.system.errors import RunFolderError, StorageError


def line(epoch):
    return {"epoch": epoch, "step": 11 * epoch, "lr": 0.1 / epoch, "val": None}


@pytest.fixture
def journal(tmp_path):
    """Four epochs, written one by one."""
    made = Journal(tmp_path / "journal.jsonl")
    for epoch in (1, 2, 3, 4):
        made.append(line(epoch))
    return made


def test_what_was_appended_is_read_in_order(journal):
    assert journal.read() == [line(epoch) for epoch in (1, 2, 3, 4)]


def test_each_line_is_one_json_object(journal):
    lines = journal.path.read_text().splitlines()
    assert [json.loads(text)["epoch"] for text in lines] == [1, 2, 3, 4]


def test_a_line_is_on_the_disk_before_append_returns(journal, monkeypatch):
    seen = []
    monkeypatch.setattr("os.fsync", lambda _: seen.append(journal.path.read_text()[-1]))
    journal.append(line(5))
    assert seen == ["\n"]


def test_before_the_first_epoch_there_is_none(tmp_path):
    assert Journal(tmp_path / "journal.jsonl").read() == []


@pytest.mark.parametrize("cut", range(1, len(json.dumps(line(4))) + 2, 7))
def test_a_torn_last_line_is_left_out_wherever_it_tore(journal, cut):
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-cut])
    assert journal.read() == [line(epoch) for epoch in (1, 2, 3)]


def test_a_tail_of_zeros_after_a_power_cut_is_left_out(journal):
    with journal.path.open("ab") as file:
        file.write(bytes(40))
    assert len(journal.read()) == 4


@pytest.mark.parametrize(
    "damage", ['{"epoch": 2, "st', "[2]", "2", "", '{"step": 4}', '{"epoch": "2"}', "\0\0"]
)
@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_damaged_line_is_named(journal, damage, number):
    lines = journal.path.read_text().splitlines()
    lines[number - 1] = damage
    journal.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFolderError) as caught:
        journal.read()
    what, hint = str(caught.value).split("\n")
    assert what.startswith(f"{journal.path}, line {number} is damaged")
    assert hint


def test_bytes_that_are_no_text(journal):
    journal.path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(RunFolderError, match=r"can't read .*journal\.jsonl"):
        journal.read()


@pytest.mark.parametrize("epoch", [0, 1, 3, 4])
def test_keep_until_drops_what_came_after(journal, epoch):
    journal.keep_until(epoch)
    assert [kept["epoch"] for kept in journal.read()] == list(range(1, epoch + 1))


def test_what_is_kept_is_kept_to_the_byte_and_written_on_as_if_never_cut(journal):
    before = journal.path.read_text()
    journal.path.write_text(before + '{"epoch": 5, "to')
    journal.keep_until(3)
    journal.append(line(4))
    assert journal.path.read_text() == before


@pytest.mark.parametrize("epochs", [[1, 3], [2, 3], [1, 2], [1, 1, 2, 3], [3, 2, 1], []])
def test_a_missing_or_doubled_epoch_is_refused_and_nothing_is_dropped(tmp_path, epochs):
    journal = Journal(tmp_path / "journal.jsonl")
    for epoch in epochs:
        journal.append(line(epoch))
    with pytest.raises(RunFolderError, match="lacks epochs before the checkpoint's epoch 3"):
        journal.keep_until(3)
    assert [kept["epoch"] for kept in journal.read()] == epochs


def test_drop_after_keeps_what_is_up_to_there_and_asks_for_no_more(tmp_path):
    record = Journal(tmp_path / "record.jsonl")
    for epoch in (0, 2, 3):
        record.append({"epoch": epoch})
    record.drop_after(2)
    assert [kept["epoch"] for kept in record.read()] == [0, 2]


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"can't write .*journal\.jsonl"):
        Journal(tmp_path / "missing" / "journal.jsonl").append(line(1))


def test_without_cost_takes_out_every_clock_at_any_depth():
    tree = {"cost": 1, "a": [{"cost": 2, "b": 3}, 4], "c": {"d": {"cost": {}}, "costs": 5}}
    assert without_cost(tree) == {"a": [{"b": 3}, 4], "c": {"d": {}, "costs": 5}}
    assert tree["cost"] == 1
