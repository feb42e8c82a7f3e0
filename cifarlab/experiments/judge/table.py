"""Judgements and the record book as tables, sentences and JSON."""

import math
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.experiments.engine import resume_command
from cifarlab.experiments.judge.book import BookEntry, RecordBook
from cifarlab.experiments.judge.claims import Claim, Evidence
from cifarlab.experiments.judge.engine import Judgement
from cifarlab.experiments.judge.shipped_records import ShippedRecord, shipped_records
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.schemas import as_json
from cifarlab.system.errors import UserError
from cifarlab.system.formatting import NOTHING, TextTable


class BookPage(NamedTuple):
    """What is shown of the record book: claims and checks, and the records that ship."""

    entries: list[BookEntry]
    shipped: dict[str, ShippedRecord]


def read_book(name: str | None = None, runs: Path = RUNS) -> BookPage:
    """Return the record book in a folder of runs, or what it says of one record.

    Raises:
        UserError: there is no record of this name
        RunFolderError: the book is damaged
    """
    entries = [e for e in RecordBook(runs).entries() if name in (None, e.race.name, e.record)]
    shipped = {n: record for n, record in shipped_records().items() if name in (None, n)}
    if not (entries or shipped):
        raise UserError(f"there is no record {name!r}", "'cifarlab records' lists all")
    return BookPage(entries, shipped)


def describe(judgement: Judgement) -> list[str]:
    """Return the verdict in sentences: what, why, with which evidence, where it is kept."""
    race, verdict = judgement.race, judgement.verdict
    evidence, lines = verdict.evidence, [f"{verdict.verdict}: {verdict.reason}"]
    n_laps = len(evidence.laps)
    if evidence.difference is not None:
        difference = f"{100 * evidence.difference:+.2f} points{_points(evidence)}"
        lines.append(f"{evidence.split} accuracy on {evidence.data}: {difference}, n = {n_laps}")
    if evidence.speedup is not None:
        interval = _range(evidence.speedup_interval, ".3f")
        lines.append(f"training seconds: {evidence.speedup:.3f} times as fast{interval}")
    if evidence.wear:
        lines.append(evidence.wear)
    if isinstance(race, Claim):
        lines.append(
            f"claim {race.number} of this record book, accepted at p <= {race.level:.2g}: of all "
            "that it accepts, at most 5 % are expected to be false if the pairs' differences are "
            "about normal, not if a candidate fails with some seeds"
        )
    if not verdict.is_closed:
        lines.append(f"go on with: {resume_command(race.command)}")
    return lines


def _points(evidence: Evidence) -> str:
    ends = evidence.difference_interval
    return _range(ends and [100 * end for end in ends], "+.2f")


def _range(ends: list[float] | None, form: str) -> str:
    return f" (95 %: {ends[0]:{form}} to {ends[1]:{form}})" if ends else ""


def lap_table(judgement: Judgement) -> TextTable:
    """Return headers and cells: accuracy and training seconds of each side, seed by seed."""
    laps = judgement.verdict.evidence.laps
    sides = list(laps[0].scores) if laps else []
    headers = ("seed", *(f"{side} {what}" for what in ("%", "training s") for side in sides))
    rows = [
        (
            str(lap.seed),
            *(f"{100 * lap.scores[side].accuracy:.2f}" for side in sides),
            *(f"{lap.scores[side].seconds:.1f}" for side in sides),
        )
        for lap in laps
    ]
    return headers, rows


def book_table(page: BookPage) -> TextTable:
    """Return headers and cells: a row for each claim and check, and for each shipped record."""
    headers = ("name", "claim", "at p <=", "verdict", "accuracy", "training seconds", "n", "why")
    rows = [_shipped_row(name, record) for name, record in page.shipped.items()]
    return headers, [*rows, *map(_row, page.entries)]


def _row(entry: BookEntry) -> tuple[str, ...]:
    race, verdict = entry.race, entry.verdict
    claim, level = f"a check of {entry.record}", NOTHING
    if isinstance(race, Claim):
        claim, level = f"{race.candidate} against {race.incumbent}", f"{race.level:.2g}"
        if race.goal != "accuracy":
            claim += f", {race.goal}"
    evidence = verdict.evidence if verdict else Evidence()
    reasons = [verdict.reason] if verdict else []
    if entry.is_open:
        reasons.append(f"go on with: {resume_command(race.command)}")
    has_gain, has_speedup = evidence.difference is not None, evidence.speedup is not None
    return (
        race.name,
        claim,
        level,
        entry.state,
        f"{100 * (evidence.difference or 0):+.2f} points" if has_gain else NOTHING,
        f"{evidence.speedup:.3f} times as fast" if has_speedup else NOTHING,
        str(len(evidence.laps)),
        "; ".join(reasons),
    )


def _shipped_row(name: str, record: ShippedRecord) -> tuple[str, ...]:
    n = len(record.accuracy)
    accuracy, seconds = (math.fsum(v) / n for v in (record.accuracy, record.seconds))
    return (
        name,
        f"{record.split} accuracy and training seconds on {record.data}",
        NOTHING,
        "shipped",
        f"{100 * accuracy:.2f} %",
        f"{seconds:.0f} s",
        str(n),
        f"{record.device}, {record.threads} threads, {record.precision}; {record.note}",
    )


def judgement_json(judgement: Judgement) -> dict[str, Any]:
    """Return a judgement as plain values: the claim or check, its verdict, the exit code."""
    race, verdict, path = judgement
    return {
        **as_json(race),
        **as_json(verdict),
        "event": race.event,
        "time": race.time,
        "verdict_time": verdict.time,
        "path": str(path),
        "exit_code": judgement.exit_code,
    }


def book_json(page: BookPage) -> dict[str, Any]:
    """Return claims, checks and shipped records as plain values."""
    entries = [
        {**as_json(entry.race), "state": entry.state, "verdict": as_json(entry.verdict)}
        for entry in page.entries
    ]
    return {"shipped": as_json(page.shipped), "entries": entries}
