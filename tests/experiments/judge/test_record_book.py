"""The record book: only added to, damage is noticed, levels hold false discoveries down."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from cifarlab.experiments.judge.book import RecordBook, now
from cifarlab.experiments.judge.claims import Check, Claim, Evidence, VerdictEvent
from cifarlab.stats.online_fdr import next_level
from cifarlab.system.errors import RunFolderError


def begin(book: RecordBook, key: str = "a", *, resume: bool = False) -> Claim:
    question = {
        "candidate_fingerprint": key,
        "incumbent_fingerprint": "b",
        "goal": "accuracy",
        "margin": 0.2,
        "most": 10,
    }
    facts = {"command": "cifarlab judge made", "candidate": "made lr=2", "incumbent": "made"}
    return book.begin(Claim, "made", question, facts, resume=resume)


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
    assert abs(second.first_seed - first.first_seed) >= 100  # no seed twice
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
    book.begin(Check, "check-made-1", {"name": "made-1"}, facts, resume=False)
    book.close(verdict(2, "accepted"))
    assert begin(book, "2").level == next_level(1, 1)
    assert begin(book, "3").level == next_level(2, 1)


def test_the_rest_of_a_cut_line_is_removed(tmp_path: Path) -> None:
    book = RecordBook(tmp_path)
    begin(book, "1")
    text = book.path.read_text()
    for end in (1, 40, len(text) - 1):
        book.path.write_text(text + text[:end])
        assert len(book.entries()) == 1
        assert begin(book, "2").number == 2
        assert len(book.entries()) == 2 and book.path.read_text().startswith(text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda tree: tree | {"format": 2}, "newer cifarlab"),
        (lambda tree: tree | {"level": "low"}, "level"),
        (lambda tree: tree | {"event": "wish"}, "line 1"),
        (lambda tree: tree | {"number": 2}, "entry 2"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: Any, words: str) -> None:
    book = RecordBook(tmp_path)
    begin(book)
    book.path.write_text(json.dumps(change(json.loads(book.path.read_text()))) + "\n")
    with pytest.raises(RunFolderError, match=words):
        book.entries()


@pytest.mark.parametrize("real", [0.0, 0.1, 0.5])
def test_false_discoveries_stay_below_5_percent(real: float) -> None:
    """1,000 books of 100 claims; of the real ones, most have a small p."""
    draws, fractions, n_true = np.random.default_rng(0), [], 0
    for _ in range(1000):
        is_real = draws.random(100) < real
        p = norm.sf(draws.normal(np.where(is_real, 4.0, 0.0), 1.0))
        accepted: list[bool] = []
        for value in p:
            accepted.append(bool(value <= next_level(len(accepted), sum(accepted))))
        false = int((np.array(accepted) & ~is_real).sum())
        fractions.append(false / max(1, sum(accepted)))
        n_true += sum(accepted) - false
    error = np.std(fractions) / len(fractions) ** 0.5
    assert np.mean(fractions) <= 0.05 + 3 * error
    # without a level that falls, they would not
    assert real == 0 or n_true > 0.2 * real * 100 * 1000
