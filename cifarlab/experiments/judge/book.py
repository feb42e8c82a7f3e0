"""The record book of a folder of runs: ``records.jsonl``, a line for each claim, check and verdict.

Lines are only ever added, by one process at a time. The level of each claim follows from those
before it (stats/online_fdr.py), so that of all claims that are accepted at most 5 % are expected to
be false, however many there will be; and an acceptance stays one.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from math import isclose
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import Field, RootModel

from cifarlab.experiments.engine import Log, resume_command, unfinished_error
from cifarlab.experiments.judge.claims import Check, Claim, VerdictEvent
from cifarlab.run_folder.schemas import make_folder_check
from cifarlab.stats.online_fdr import next_level
from cifarlab.stats.sequential import MAX_LOOK
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import (
    append_line,
    damage_errors,
    lock_folder,
    parse_json,
    parse_line,
    read_text,
    write_text,
)

AnyRace = TypeVar("AnyRace", Claim, Check)
_FOLDER = "judge"  # of the races, in the folder of the runs
_FIRST_SEED = 1_000_000  # of the judge's runs: others begin at 0
_HINT = "restore the file: it is the only record of what was claimed"
_WAIT = 60.0  # seconds that another process may take to add a line


class BookLine(RootModel[Annotated[Claim | Check | VerdictEvent, Field(discriminator="event")]]):
    """A line of the book."""


class BookEntry(NamedTuple):
    """A claim or a check, and its verdict, if there is one."""

    race: Claim | Check
    verdict: VerdictEvent | None = None

    @property
    def is_open(self) -> bool:
        """Return whether the race may still go on."""
        return self.verdict is None or not self.verdict.is_closed

    @property
    def record(self) -> str | None:
        """Return which record a check runs again; None of a claim."""
        return self.race.record if isinstance(self.race, Check) else None

    @property
    def state(self) -> str:
        """Return the verdict in a word; ``open`` before it."""
        return self.verdict.verdict if self.verdict else "open"


class RecordBook:
    """The claims, checks and verdicts in a folder of runs; each method reads the file anew."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.path = runs / "records.jsonl"

    def entries(self) -> list[BookEntry]:
        """Return all claims and checks, oldest first, each with its last verdict.

        Raises:
            RunFolderError: the book is damaged, or another version wrote it
        """
        entries: list[BookEntry] = []
        check = make_folder_check(self.path, BookLine)
        for n, line in enumerate(self._text().split("\n")[:-1], 1):
            tree = parse_line(line, f"{self.path}, line {n}", _HINT, check)
            event = BookLine.model_validate(tree).root
            if not isinstance(event, VerdictEvent):
                is_level = not isinstance(event, Claim) or isclose(event.level, _level(entries))
                if event.number != len(entries) + 1 or not is_level:
                    raise RunFolderError(f"{self.path} is damaged: entry {event.number}", _HINT)
                entries.append(BookEntry(event))
                continue
            if not (0 < event.number <= len(entries) and entries[event.number - 1].is_open):
                what = f"{self.path} is damaged: a verdict on {event.name}, which has one"
                raise RunFolderError(what, _HINT)
            entries[event.number - 1] = entries[event.number - 1]._replace(verdict=event)
        return entries

    def find(self, name: str) -> BookEntry | None:
        """Return the claim of this name."""
        claims = (entry for entry in self.entries() if isinstance(entry.race, Claim))
        return next((entry for entry in claims if entry.race.name == name), None)

    def begin(
        self,
        kind: type[AnyRace],
        stem: str,
        question: Mapping[str, Any],
        facts: Mapping[str, Any],
        *,
        resume: bool,
        log: Log,
    ) -> AnyRace:
        """Add a race to the book; with ``resume`` return the last one for the question instead.

        Args:
            kind: claim or check
            stem: the start of its name, which ends with its number
            question: what is asked, by the event's keys
            facts: its other keys that do not follow from the book; one is ``command``
            resume: whether to take the last race for the question, if there is one
            log: receives a line where there is nothing to resume

        Raises:
            RunFolderError: a race is open and ``resume`` is false, or it is true and another race
                like this one is open; or the book is damaged or held by another process
        """
        with self._lock():
            entries = self.entries()
            for entry in reversed(entries):
                race = entry.race
                if isinstance(race, kind) and not _differences(race, question):
                    if resume:
                        return race
                    if entry.is_open:
                        raise unfinished_error(self.runs / race.folder, facts["command"])
            if resume:
                if kind is Claim:
                    _refuse_another(stem, question, entries)
                log("there is nothing to resume: this race is a new one")
            number = len(entries) + 1
            if stale := next((self.runs / _FOLDER).glob(f"*-{number}"), None):
                what = f"{self.path} lacks the race of {stale}, whose runs are there"
                raise RunFolderError(what, f"{_HINT}; or move that folder away")
            name = f"{stem}-{number}"
            values: dict[str, Any] = {"folder": f"{_FOLDER}/{name}", **facts, **question}
            if kind is Claim:
                values["level"] = _level(entries)
            seed = _FIRST_SEED + MAX_LOOK * number
            race = kind(number=number, name=name, time=now(), first_seed=seed, **values)
            self._append(race)
            return race

    def close(self, verdict: VerdictEvent) -> None:
        """Add a verdict.

        Raises:
            RunFolderError: the race has a final verdict already
            StorageError: the disk refused
        """
        with self._lock():
            if not self.entries()[verdict.number - 1].is_open:
                what = f"{verdict.name} has a verdict already, by another process"
                raise RunFolderError(what, "'cifarlab records' shows it")
            self._append(verdict)

    def _append(self, event: Any) -> None:
        """Add a line, after ending the last one, or removing what is left of it."""
        text = self._text()
        if self.path.exists() and text != read_text(self.path):
            write_text(self.path, text)
        append_line(self.path, event.model_dump_json())

    def _text(self) -> str:
        """Return all whole lines, each with its end, which an editor may have taken away."""
        with damage_errors(f"can't read {self.path}", _HINT):
            text = read_text(self.path) if self.path.exists() else ""
        last = text.rpartition("\n")[2]
        try:
            parse_json(last)
        except ValueError:  # nothing, or what a kill cut off
            return text[: len(text) - len(last)]
        return f"{text}\n"

    def _lock(self) -> AbstractContextManager[None]:
        what = f"{self.path} is in use by another process"
        return lock_folder(self.runs, RunFolderError(what, "try again"), _WAIT)


def _level(entries: Sequence[BookEntry]) -> float:
    """Return the level of the claim that comes after these entries."""
    accepted = [e.state == "accepted" for e in entries if isinstance(e.race, Claim)]
    return next_level(len(accepted), sum(accepted))


def _differences(race: Claim | Check, question: Mapping[str, Any]) -> list[str]:
    """Return in what a race asks something else, in words."""
    return [
        f"another {key.removesuffix('_fingerprint')}"
        if key.endswith("_fingerprint")
        else f"{key} {getattr(race, key)}, not {value}"
        for key, value in question.items()
        if getattr(race, key) != value
    ]


def _refuse_another(stem: str, question: Mapping[str, Any], entries: Sequence[BookEntry]) -> None:
    """Refuse a new claim where an open one of its name, or of the same recipes, was meant."""
    for race in [entry.race for entry in reversed(entries) if entry.is_open]:
        if isinstance(race, Check):
            continue
        differences = _differences(race, question)
        is_pair = not any(text.startswith("another") for text in differences)
        if is_pair or race.name == f"{stem}-{race.number}":
            raise RunFolderError(
                f"{race.name} can't be gone on with: it has {', '.join(differences)}",
                f"go on with: {resume_command(race.command)}; or leave --resume out",
            )


def now() -> str:
    """Return the time as the book writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
