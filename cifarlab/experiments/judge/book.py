"""The record book of a folder of runs: ``records.jsonl``, a line for each claim, check and verdict.

Lines are only ever added, by one process at a time. The level of each claim follows from those
before it (stats/online_fdr.py), so that of all claims that are accepted at most 5 % are expected to
be false, however many there will be; and an acceptance stays one.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import Field, RootModel

from cifarlab.experiments.engine import unfinished_error
from cifarlab.experiments.judge.claims import Check, Claim, VerdictEvent
from cifarlab.run_folder.schemas import make_folder_check
from cifarlab.stats.online_fdr import next_level
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import append_line, lock_folder, read_json_lines, write_text

AnyRace = TypeVar("AnyRace", Claim, Check)
_FOLDER = "judge"  # of the races, in the folder of the runs
_FIRST_SEED = 1_000_000  # of the judge's runs: others begin at 0
_SEEDS_EACH = 100  # as many as a plan can look at
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
        for line in read_json_lines(self.path, _HINT, make_folder_check(self.path, BookLine)):
            event = BookLine.model_validate(line).root
            if event.number != len(entries) + 1 and not isinstance(event, VerdictEvent):
                raise RunFolderError(f"{self.path} is damaged: entry {event.number}", _HINT)
            if not isinstance(event, VerdictEvent):
                entries.append(BookEntry(event))
                continue
            if not (0 < event.number <= len(entries) and entries[event.number - 1].is_open):
                what = f"{self.path} is damaged: a verdict on {event.name}, which has one"
                raise RunFolderError(what, _HINT)
            entries[event.number - 1] = entries[event.number - 1]._replace(verdict=event)
        return entries

    def claims(self) -> list[BookEntry]:
        """Return the entries that claim something."""
        return [entry for entry in self.entries() if isinstance(entry.race, Claim)]

    def find(self, name: str) -> BookEntry | None:
        """Return the claim of this name."""
        return next((entry for entry in self.claims() if entry.race.name == name), None)

    def begin(
        self,
        kind: type[AnyRace],
        stem: str,
        question: Mapping[str, Any],
        facts: Mapping[str, Any],
        *,
        resume: bool,
    ) -> AnyRace:
        """Add a race to the book; with ``resume`` return the last one for the question instead.

        Args:
            kind: claim or check
            stem: the start of its folder's name, which ends with its number
            question: what is asked, by the event's keys
            facts: its other keys that do not follow from the book; one is ``command``
            resume: whether to take the last race for the question, if there is one

        Raises:
            RunFolderError: a race is open and ``resume`` is false, or the book is damaged or held
                by another process
        """
        with self._lock():
            entries = self.entries()
            for entry in reversed(entries):
                race = entry.race
                if isinstance(race, kind) and _asks(race, question):
                    if resume:
                        return race
                    if entry.is_open:
                        raise unfinished_error(self.runs / race.folder, facts["command"])
            number = len(entries) + 1
            name = f"{stem}-{number}"
            values: dict[str, Any] = {"folder": f"{_FOLDER}/{name}", **facts, **question}
            if kind is Claim:
                accepted = [e.state == "accepted" for e in entries if isinstance(e.race, Claim)]
                values |= {"name": name, "level": next_level(len(accepted), sum(accepted))}
            seed = _FIRST_SEED + _SEEDS_EACH * number
            race = kind(number=number, time=now(), first_seed=seed, **values)
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
        """Add a line, after removing the rest of one that a kill cut off."""
        text = self.path.read_text(encoding="utf-8") if self.path.exists() else ""
        if not text.endswith("\n") and text:
            write_text(self.path, text[: text.rfind("\n") + 1])
        append_line(self.path, event.model_dump_json())

    def _lock(self) -> AbstractContextManager[None]:
        what = f"{self.path} is in use by another process"
        return lock_folder(self.runs, RunFolderError(what, "try again"), _WAIT)


def _asks(race: Claim | Check, question: Mapping[str, Any]) -> bool:
    return all(getattr(race, key) == value for key, value in question.items())


def now() -> str:
    """Return the time as the book writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
