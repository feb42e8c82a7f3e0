"""The metrics log: what was written is read, what was torn is left out, what is damaged is said."""

import json

import pytest

from cifarlab.run_folder.metrics_log import MetricsLog, without_cost
from cifarlab.system.errors import RunFolderError, StorageError


def line(epoch):
    return {"epoch": epoch, "step": 11 * epoch, "lr": 0.1 / epoch, "val": None}


@pytest.fixture
def metrics(tmp_path):
    """Four epochs, written one by one."""
    made = MetricsLog(tmp_path / "metrics.jsonl")
    for epoch in (1, 2, 3, 4):
        made.append(line(epoch))
    return made


def test_what_was_appended_is_read_in_order(metrics):
    assert metrics.read() == [line(epoch) for epoch in (1, 2, 3, 4)]


def test_each_line_is_one_json_object(metrics):
    lines = metrics.path.read_text().splitlines()
    assert [json.loads(text)["epoch"] for text in lines] == [1, 2, 3, 4]


def test_a_line_is_on_the_disk_before_append_returns(metrics, monkeypatch):
    seen = []
    monkeypatch.setattr("os.fsync", lambda _: seen.append(metrics.path.read_text()[-1]))
    metrics.append(line(5))
    assert seen == ["\n"]


def test_before_the_first_epoch_there_is_none(tmp_path):
    assert MetricsLog(tmp_path / "metrics.jsonl").read() == []


@pytest.mark.parametrize("cut", range(1, len(json.dumps(line(4))) + 2, 7))
def test_a_torn_last_line_is_left_out_wherever_it_tore(metrics, cut):
    content = metrics.path.read_bytes()
    metrics.path.write_bytes(content[:-cut])
    assert metrics.read() == [line(epoch) for epoch in (1, 2, 3)]


def test_a_tail_of_zeros_after_a_power_cut_is_left_out(metrics):
    with metrics.path.open("ab") as file:
        file.write(bytes(40))
    assert len(metrics.read()) == 4


@pytest.mark.parametrize(
    "damage", ['{"epoch": 2, "st', "[2]", "2", "", '{"step": 4}', '{"epoch": "2"}', "\0\0"]
)
@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_damaged_line_is_named(metrics, damage, number):
    lines = metrics.path.read_text().splitlines()
    lines[number - 1] = damage
    metrics.path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFolderError) as caught:
        metrics.read()
    what, hint = str(caught.value).split("\n")
    assert what.startswith(f"{metrics.path}, line {number} is damaged")
    assert hint


def test_bytes_that_are_no_text(metrics):
    metrics.path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(RunFolderError, match=r"can't read .*metrics\.jsonl"):
        metrics.read()


@pytest.mark.parametrize("epoch", [0, 1, 3, 4])
def test_keep_until_drops_what_came_after(metrics, epoch):
    metrics.keep_until(epoch)
    assert [kept["epoch"] for kept in metrics.read()] == list(range(1, epoch + 1))


def test_what_is_kept_is_kept_to_the_byte_and_written_on_as_if_never_cut(metrics):
    before = metrics.path.read_text()
    metrics.path.write_text(before + '{"epoch": 5, "to')
    metrics.keep_until(3)
    metrics.append(line(4))
    assert metrics.path.read_text() == before


@pytest.mark.parametrize("epochs", [[1, 3], [2, 3], [1, 2], [1, 1, 2, 3], [3, 2, 1], []])
def test_a_missing_or_doubled_epoch_is_refused_and_nothing_is_dropped(tmp_path, epochs):
    metrics = MetricsLog(tmp_path / "metrics.jsonl")
    for epoch in epochs:
        metrics.append(line(epoch))
    with pytest.raises(RunFolderError, match="lacks epochs before the checkpoint's epoch 3"):
        metrics.keep_until(3)
    assert [kept["epoch"] for kept in metrics.read()] == epochs


def test_drop_after_keeps_what_is_up_to_there_and_asks_for_no_more(tmp_path):
    tensor_stats = MetricsLog(tmp_path / "tensor_stats.jsonl")
    for epoch in (0, 2, 3):
        tensor_stats.append({"epoch": epoch})
    tensor_stats.drop_after(2)
    assert [kept["epoch"] for kept in tensor_stats.read()] == [0, 2]


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path):
    with pytest.raises(StorageError, match=r"can't write .*metrics\.jsonl"):
        MetricsLog(tmp_path / "missing" / "metrics.jsonl").append(line(1))


def test_without_cost_takes_out_every_clock_at_any_depth():
    tree = {"cost": 1, "a": [{"cost": 2, "b": 3}, 4], "c": {"d": {"cost": {}}, "costs": 5}}
    assert without_cost(tree) == {"a": [{"b": 3}, 4], "c": {"d": {}, "costs": 5}}
    assert tree["cost"] == 1
