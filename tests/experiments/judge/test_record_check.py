"""A shipped record is run again: what is compared on which machine, and what is not."""

from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from made_race import FAST, fast, race
from pydantic import ValidationError

from cifarlab.experiments.judge import checking
from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.checking import check_record
from cifarlab.experiments.judge.claims import Check
from cifarlab.experiments.judge.engine import Judgement
from cifarlab.experiments.judge.shipped_records import ShippedRecord, shipped_records
from cifarlab.recipes.catalog import shipped_recipes
from cifarlab.system.device import device_name, fastest_device
from cifarlab.system.errors import UserError

SCALARS = {key: value for key, value in FAST.items() if not isinstance(value, list)}


class PretendedClock:
    """A clock that each look at it moves by a hundredth of a second: the same for all runs."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        self.now += 0.01
        return self.now


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function: check a record of these facts in an empty folder of runs."""
    monkeypatch.setattr("cifarlab.training.clock.time", PretendedClock())

    def run(path: Path = tmp_path, **facts: Any) -> Judgement:
        record = ShippedRecord(
            recipe="quickstart",
            overrides=SCALARS,
            split="val",
            **{"data": "digits", "accuracy": (0.1, 0.2), "seconds": (1, 2), **machine(), **facts},
        )
        monkeypatch.setattr(checking, "find_shipped_record", lambda name: record)
        return check_record("made/record", runs=path, log=lambda _: None)

    return run


@pytest.fixture
def measured(check: Any, tmp_path: Path) -> dict[str, Any]:
    """What the check's own runs reach, and little more or less: so its numbers come back."""
    laps = check(tmp_path / "first").verdict.evidence.laps
    names = ("accuracy", "seconds")
    means = {name: mean(getattr(lap.scores["record"], name) for lap in laps) for name in names}
    return {name: (0.999 * value, value, 1.001 * value) for name, value in means.items()}


def machine() -> dict[str, Any]:
    return {"device": device_name(fastest_device()), "threads": 1, "precision": "float32"}


def test_numbers_that_come_back_are_accepted(check: Any, measured: Any, tmp_path: Path) -> None:
    judged = check(**measured)
    assert judged.exit_code == 0, judged.verdict.reason
    assert "accuracy" in judged.verdict.reason and "seconds" in judged.verdict.reason
    assert [len(lap.scores) for lap in judged.verdict.evidence.laps] == [1, 1, 1]
    entry = RecordBook(tmp_path).entries()[0]
    assert isinstance(entry.race, Check) and entry.race.record == "made/record"
    assert judged.path.parent == tmp_path / "judge" and judged.path.name == "check-made-record-1"


@pytest.mark.parametrize("name", ["accuracy", "seconds"])
def test_numbers_that_do_not_come_back_are_rejected(check: Any, measured: Any, name: str) -> None:
    judged = check(**measured | {name: tuple(1.9 * value for value in measured[name])})
    assert judged.exit_code == 3, judged.verdict.reason


def test_seconds_of_another_machine_are_not_compared(check: Any, measured: Any) -> None:
    judged = check(**measured | {"seconds": (1e6, 1e6 + 1)}, threads=64)
    assert judged.exit_code == 0 and "seconds not compared: recorded on" in judged.verdict.reason


def test_all_numbers_that_are_compared_have_5_percent_together(
    check: Any, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels: list[float] = []
    monkeypatch.setattr(
        checking, "compare_with_record", lambda *values: (levels.append(values[-1]) is None, "made")
    )
    assert check(**measured).exit_code == 0
    assert levels == [0.025, 0.025]
    levels.clear()
    check(**measured, threads=64)
    assert levels == [0.05]


def test_what_can_t_be_compared_is_refused_before_the_first_run(check: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a record on CIFAR-10, and its recipe's images are digits"):
        check(data="CIFAR-10")
    assert not RecordBook(tmp_path).path.exists()


@pytest.mark.parametrize("name", ["accuracy", "seconds"])
def test_a_record_has_the_values_of_two_runs_or_more(check: Any, name: str) -> None:
    with pytest.raises(ValidationError, match="at least 2 items"):
        check(**{name: (0.5,)})


def test_a_claim_of_one_pair_can_t_be_checked(tmp_path: Path) -> None:
    wild = fast(optimizer__lr=1e30, schedule__warmup="0 epochs")
    name = race(tmp_path, wild, fast()).race.name
    with pytest.raises(UserError, match="no two pairs of runs"):
        check_record(name, runs=tmp_path)
    assert len(RecordBook(tmp_path).entries()) == 1


def test_every_shipped_record_can_be_trained() -> None:
    records = shipped_records()
    assert "speed/94" in records
    for record in records.values():
        assert record.recipe in shipped_recipes() and record.find_recipe()
        assert len(record.accuracy) == len(record.seconds)
