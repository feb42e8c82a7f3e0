"""Run a record again, with seeds that it never had, and say whether its numbers come back."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.opening import open_data
from cifarlab.experiments.engine import Log
from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.claims import Check, Claim, Decision, Lap
from cifarlab.experiments.judge.contestants import recorded_recipes
from cifarlab.experiments.judge.engine import Judgement, run_race
from cifarlab.experiments.judge.race import Race
from cifarlab.experiments.judge.rules import accuracy_differences, compare_with_record, log_speedups
from cifarlab.experiments.judge.shipped_records import ShippedRecord, find_shipped_record
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.run_data import dig
from cifarlab.stats.paired import ALPHA
from cifarlab.system.errors import UserError

N_SEEDS = 3
_SIDE = "record"  # of a shipped one, which runs alone


class RecordedNumber(NamedTuple):
    """What a record says of one number: a value for each of its runs, how to read new ones."""

    name: str
    values: Sequence[float]
    read: Callable[[Sequence[Lap]], list[float]]
    is_time: bool = False


class Record(NamedTuple):
    """A record to be checked: its recipes by side, its numbers, where they were measured."""

    sides: dict[str, Recipe]
    numbers: list[RecordedNumber]
    data: str
    machine: tuple[Any, ...]


def check_record(
    name: str,
    *,
    resume: bool = False,
    runs: Path = RUNS,
    log: Log = print,
    command: str = "cifarlab.records",
) -> Judgement:
    """Train a record's recipes with new seeds and compare with what was recorded.

    Args:
        name: of a claim in the book, or of a shipped record
        resume: go on with the last check; of one that is decided, return the verdict
        runs: folder of the runs and the record book
        log: receives lines about the progress
        command: the command that the user typed

    Raises:
        UserError: there is no such record, it has no two pairs of runs, or its data are others now
        RunFolderError: a check was begun and ``resume`` is false
        Interrupted: a signal arrived
    """
    book = RecordBook(runs)
    record = _find_record(name, book)
    data = open_data(next(iter(record.sides.values())).data, log=log).dataset.name
    if data != record.data:
        what = f"{name} is a record on {record.data}, and its recipe's images are {data} now"
        raise UserError(what, "restore the data")
    facts = {"most": N_SEEDS, "command": command}
    stem = f"check-{name.replace('/', '-')}"
    check = book.begin(Check, stem, {"record": name}, facts, resume=resume, log=log)
    return run_race(
        check,
        record.sides,
        lambda _laps: Decision(),  # a check looks once, at its end
        partial(_conclude, record=record),
        book=book,
        budget=None,
        log=log,
        command=command,
        times_count=any(number.is_time for number in record.numbers),
    )


def _find_record(name: str, book: RecordBook) -> Record:
    if entry := book.find(name):
        claim, verdict = entry.race, entry.verdict
        if verdict is None or len(verdict.evidence.laps) < 2 or not isinstance(claim, Claim):
            what = f"{name} has no two pairs of runs, whose spread new ones could be compared with"
            raise UserError(what, "let the judge race it anew")
        evidence = verdict.evidence
        values = accuracy_differences(evidence.laps)
        numbers = [RecordedNumber("difference", values, accuracy_differences)]
        if claim.goal == "time-to-accuracy" and evidence.speedup is not None:
            speedups = log_speedups(evidence.laps)
            numbers.append(RecordedNumber("logarithm of the speedup", speedups, log_speedups, True))
        sides = recorded_recipes(claim, book.runs)
        return Record(sides, numbers, evidence.data, _machine(evidence.environment))
    if record := find_shipped_record(name):
        return _from_shipped(record)
    hint = "'cifarlab records' lists all"
    raise UserError(f"there is no record {name!r}", hint)


def _from_shipped(record: ShippedRecord) -> Record:
    def accuracies(laps: Sequence[Lap]) -> list[float]:
        return [lap.scores[_SIDE].accuracy for lap in laps]

    def seconds(laps: Sequence[Lap]) -> list[float]:
        return [lap.scores[_SIDE].seconds for lap in laps]

    numbers = [
        RecordedNumber("accuracy", record.accuracy, accuracies),
        RecordedNumber("training seconds", record.seconds, seconds, True),
    ]
    machine = record.device, record.threads, record.precision
    return Record({_SIDE: record.find_recipe()}, numbers, record.data, machine)


def _machine(environment: dict[str, Any]) -> tuple[Any, ...]:
    """Return the device's name, its threads and the precision."""
    device = environment.get("device")
    return dig(device, "name"), dig(device, "threads"), environment.get("precision")


def _conclude(race: Race, record: Record) -> tuple[Decision, bool]:
    """Return whether the numbers came back, and whether the check can't go on."""
    if race.failure:
        return Decision(reason=f"a run failed: {race.failure[1].what}"), race.has_diverged
    environment = race.environment()
    is_same_machine = _machine(environment) == record.machine
    numbers = [number for number in record.numbers if is_same_machine or not number.is_time]
    level = ALPHA / len(numbers)  # of all numbers together it is ALPHA
    findings = [
        compare_with_record(number.name, number.values, number.read(race.laps), level)
        for number in numbers
    ]
    reason = "; ".join(sentence for _, sentence in findings)
    if len(numbers) < len(record.numbers):
        reason += f"; seconds not compared: recorded on {', '.join(map(str, record.machine))}"
    holds = all(is_within for is_within, _ in findings)
    return Decision(verdict="accepted" if holds else "rejected", reason=reason), True
