"""The record book: only added to, damage is noticed, levels hold false discoveries down."""

import json
from pathlib import Path
from typing import Any

import pytest

from cifarlab.experiments.judge.book import RecordBook, now
from cifarlab.experiments.judge.claims import Check, Claim, Evidence, VerdictEvent
from cifarlab.stats.online_fdr import next_level
from cifarlab.stats.sequential import MAX_LOOK
from cifarlab.system.errors import RunFolderError


def ignore(line: str) -> None:
    """Log nothing."""


def begin(
    book: RecordBook,
    key: str = "a",
    *,
    stem: str = "made",
    resume: bool = False,
    log: Any = ignore,
    **changes: Any,
) -> Claim:
    question = {
        "candidate_fingerprint": key,
        "incumbent_fingerprint": "b",
        "goal": "accuracy",
        "margin": 0.2,
        "most": 10,
        **changes,
    }
    names = {"candidate": "made lr=2", "incumbent": "made"}
    facts = {"command": "cifarlab judge made", "recipes": {}, **names}
    return book.begin(Claim, stem, question, facts, resume=resume, log=log)


def verdict(number: int, word: str, *, is_closed: bool = True) -> VerdictEvent:
    return VerdictEvent(
        number=number,
        name=f"made-{number}",
        time=now(),
        verdict=word,
        reason="made",
        is_closed=is_closed,
        evidence=Evidence(),
    )


def test_a_claim_is_there_before_its_verdict(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    assert book.entries() == []
    first = begin(book)
    assert [entry.state for entry in book.entries()] == ["open"] and book.find("made-1")
    book.close(verdict(1, "rejected"))
    assert [entry.state for entry in book.entries()] == ["rejected"]
    second = begin(book)
    assert (first.number, second.number) == (1, 2)
    assert abs(second.first_seed - first.first_seed) >= MAX_LOOK  # no seed twice
    lines = (tmp_path / "records.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["claim", "verdict", "claim"]
    assert {json.loads(line)["format"] for line in lines} == {1}


def test_an_open_race_is_gone_on_with_or_refused(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    first = begin(book)
    with pytest.raises(RunFolderError, match="begun and is not finished"):
        begin(book)
    assert begin(book, resume=True) == first
    assert begin(book, "another").number == 2
    book.close(verdict(1, "undecided", is_closed=False))  # out of time
    assert begin(book, resume=True) == first
    book.close(verdict(1, "accepted"))
    assert begin(book, resume=True) == first
    assert begin(book).number == 3


def test_a_verdict_is_never_changed(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    begin(book)
    book.close(verdict(1, "accepted"))
    with pytest.raises(RunFolderError, match="has a verdict already"):
        book.close(verdict(1, "rejected"))
    with book.path.open("a") as file:
        file.write(verdict(1, "rejected").model_dump_json() + "\n")
    with pytest.raises(RunFolderError, match="damaged: a verdict on made-1"):
        book.entries()


def test_levels_follow_from_the_claims_alone(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    assert begin(book, "1").level == next_level(0, 0)
    book.close(verdict(1, "accepted"))
    facts = {"most": 3, "command": "cifarlab records"}
    book.begin(Check, "check-made-1", {"record": "made-1"}, facts, resume=False, log=ignore)
    book.close(verdict(2, "accepted"))
    assert begin(book, "2").level == next_level(1, 1)
    assert begin(book, "3").level == next_level(2, 1)


def test_the_rest_of_a_cut_line_is_removed(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    begin(book, "1")
    text = book.path.read_text()
    for end in (1, 40, len(text) - 2):
        book.path.write_text(text + text[:end])
        assert len(book.entries()) == 1
        assert begin(book, "2").number == 2
        assert len(book.entries()) == 2 and book.path.read_text().startswith(text)


def test_a_whole_last_line_without_its_end_is_a_line(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    begin(book, "1")
    book.close(verdict(1, "accepted"))
    text = book.path.read_text()
    book.path.write_text(text.rstrip("\n"))  # as some editors do
    assert [entry.state for entry in book.entries()] == ["accepted"]
    assert begin(book, "2").level == next_level(1, 1)
    assert book.path.read_text().startswith(text)
    book.path.write_text(text + '{"format": 1, "event": "wish"}')
    with pytest.raises(RunFolderError, match="line 3"):
        book.entries()


def test_runs_that_the_book_does_not_know_are_not_taken_for_a_new_claim(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    (tmp_path / "judge" / "made-1").mkdir(parents=True)
    for stem in ("made", "other"):  # their seeds would be the same
        with pytest.raises(RunFolderError, match=r"lacks the race of .*made-1"):
            begin(book, stem=stem)
    assert not book.path.exists()


def test_what_can_t_be_resumed_is_refused_or_logged(tmp_path: Path) -> None:
    book, lines = RecordBook(tmp_path), list[str]()
    begin(book, resume=True, log=lines.append)
    assert lines == ["there is nothing to resume: this race is a new one"]
    with pytest.raises(
        RunFolderError, match=r"made-1 can't .*: it has margin 0.2, not 0.5"
    ) as error:
        begin(book, stem="renamed", resume=True, margin=0.5)
    assert error.value.hint.startswith("go on with: cifarlab judge made --resume")
    with pytest.raises(RunFolderError, match="another candidate"):
        begin(book, "edited", resume=True)
    assert len(book.entries()) == 1
    assert begin(book, "c", stem="other", resume=True, log=lines.append).number == 2
    book.close(verdict(1, "rejected"))
    assert begin(book, resume=True, margin=0.5, log=lines.append).number == 3
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree | {"format": 2}, "newer cifarlab"),
        (lambda tree: tree | {"level": "low"}, "level"),
        (lambda tree: tree | {"event": "wish"}, "line 1"),
        (lambda tree: tree | {"number": 2}, "entry 2"),
        (lambda tree: tree | {"level": 0.9}, "entry 1"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Any, words: str) -> None:
    book = RecordBook(tmp_path)
    begin(book)
    book.path.write_text(json.dumps(change(json.loads(book.path.read_text()))) + "\n")
    with pytest.raises(RunFolderError, match=words):
        book.entries()
