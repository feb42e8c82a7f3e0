"""A shipped record is run again: what is compared on which machine, and what is not."""

from pathlib import Path
from typing import Any

import pytest
from made_race import FAST

from cifarlab.experiments.judge import checking
from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.checking import check_record
from cifarlab.experiments.judge.claims import Check
from cifarlab.experiments.judge.engine import Judgement
from cifarlab.experiments.judge.shipped_records import ShippedRecord, shipped_records
from cifarlab.recipes.catalog import shipped_recipes
from cifarlab.system.device import device_name, fastest_device

SCALARS = {key: value for key, value in FAST.items() if not isinstance(value, list)}
MEASURED = {"accuracy": (0.2, 0.4, 0.6), "seconds": (0.01, 5.0, 10.0)}  # wide


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: check a record of these facts in an empty folder of runs."""

    def run(**facts: Any) -> Judgement:
        record = ShippedRecord(
            recipe="quickstart",
            overrides=SCALARS,
            split="val",
            **{"data": "digits", **MEASURED, **machine(), **facts},
        )
        monkeypatch.setattr(checking, "find_shipped_record", lambda name: record)
        return check_record("made/record", runs=tmp_path, log=lambda _: None)

    return run


def machine() -> dict[str, Any]:
    return {"device": device_name(fastest_device()), "threads": 1, "precision": "float32"}


def test_numbers_that_come_back_are_accepted(check: Any, tmp_path: Path) -> None:
    judged = check()
    assert judged.exit_code == 0, judged.verdict.reason
    assert "accuracy" in judged.verdict.reason and "seconds" in judged.verdict.reason
    assert [len(lap.scores) for lap in judged.verdict.evidence.laps] == [1, 1, 1]
    entry = RecordBook(tmp_path).entries()[0]
    assert isinstance(entry.race, Check) and entry.race.name == "made/record"
    assert judged.path.parent == tmp_path / "judge" and judged.path.name == "check-made-record-1"


def test_numbers_that_do_not_come_back_are_rejected(check: Any) -> None:
    judged = check(accuracy=(0.995, 0.996, 0.997))
    assert judged.exit_code == 3 and judged.verdict.reason.startswith("accuracy 0.4")


def test_seconds_of_another_machine_are_not_compared(check: Any) -> None:
    judged = check(seconds=(1e6, 1e6 + 1), threads=64)
    assert judged.exit_code == 0 and "seconds not compared: recorded on" in judged.verdict.reason


def test_all_numbers_that_are_compared_have_5_percent_together(
    check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[float] = []
    monkeypatch.setattr(
        checking, "compare_with_record", lambda *values: (levels.append(values[-1]) is None, "made")
    )
    assert check().exit_code == 0
    assert levels == [0.025, 0.025]
    levels.clear()
    check(threads=64)
    assert levels == [0.05]


def test_what_can_t_be_compared_is_undecided(check: Any) -> None:
    judged = check(data="CIFAR-10")
    assert judged.exit_code == 4
    assert "the record is on CIFAR-10, this is digits" in judged.verdict.reason


def test_every_shipped_record_can_be_trained() -> None:
    records = shipped_records()
    assert "speed/94" in records
    for record in records.values():
        assert record.recipe in shipped_recipes() and record.find_recipe()
        assert len(record.accuracy) == len(record.seconds)
