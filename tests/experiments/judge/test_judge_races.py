"""Races on the embedded digits: order, budget, failures, kill and resume; and in Python."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from made_race import POOR, fast, poor, race

from cifarlab.experiments.judge.book import RecordBook, now
from cifarlab.experiments.judge.claims import Claim, Evidence, VerdictEvent
from cifarlab.experiments.judge.engine import Judgement
from cifarlab.experiments.judge.table import book_table, describe, read_book
from cifarlab.recipes.scale import scale_recipe
from cifarlab.recipes.text import from_text, to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, RunFolderError, UserError
from cifarlab.training.loop import fit


class PretendedClock:
    """A clock that each look at it moves by a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


def test_a_budget_is_spent_over_all_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run has ten steps and is asked after each whether the time is over, or more often."""
    clock = PretendedClock()
    for module in ("engine", "judge.engine", "judge.race"):
        monkeypatch.setattr(f"cifarlab.experiments.{module}.time", clock)
    recipes, options = (fast(optimizer__lr=0.11), fast()), {"most": 3, "resume": True}
    undisturbed = race(tmp_path / "undisturbed", *recipes, most=3)
    first = race(tmp_path, *recipes, most=3, budget="70 s")
    assert first.exit_code == 4 and not first.verdict.is_closed
    n_laps = len(first.verdict.evidence.laps)
    runs = [RunFolder(path.parent) for path in first.path.glob("*/recipe.yaml")]
    assert 0 < n_laps < 3 and not all(run.is_finished for run in runs)  # within a pair
    text = f"the budget of 70 s is spent after {n_laps} pairs: give a larger one"
    assert first.verdict.reason == text
    hint = "go on with: cifarlab.judge(..., resume=True)"
    assert describe(first)[-1] == hint
    assert book_table(read_book(runs=tmp_path))[1][-1][-1] == f"{text}; {hint}"
    with pytest.raises(RunFolderError, match="begun and is not finished"):
        race(tmp_path, *recipes, most=3)
    lines: list[str] = []
    second = race(tmp_path, *recipes, **options, budget="70 s", log=lines.append)
    assert second == first and not any("seed" in line for line in lines)
    more = race(tmp_path, *recipes, **options, budget="75 s")  # the rest of a run, or less
    assert len(more.verdict.evidence.laps) == n_laps
    assert len(RecordBook(tmp_path).path.read_text().splitlines()) == 3
    last = race(tmp_path, *recipes, **options)
    assert last.race == first.race and last.verdict.is_closed
    assert facts(last) == facts(undisturbed)
    assert len(RecordBook(tmp_path).entries()) == 1


def test_a_run_that_diverges_ends_the_race(tmp_path: Path) -> None:
    wild = fast(optimizer__lr=1e30, schedule__warmup="0 epochs")
    judged = race(tmp_path, wild, fast())
    assert judged.exit_code == 3 and "the candidate's run failed" in judged.verdict.reason
    judged = race(tmp_path, fast(), wild)
    assert judged.exit_code == 4 and "the incumbent's run failed" in judged.verdict.reason
    assert judged.verdict.reason.endswith("take an incumbent that trains")
    assert race(tmp_path, fast(), wild, resume=True) == judged
    assert race(tmp_path, fast(), wild).race.number == 3


def test_runs_of_another_recipe_are_not_judged(tmp_path: Path) -> None:
    """As where the book was replaced by an older one, while the runs stayed."""
    race(tmp_path, poor(), fast())
    (tmp_path / "records.jsonl").unlink()
    with pytest.raises(RunFolderError, match="lacks the race of"):
        race(tmp_path, fast(optimizer__lr=0.2), fast())
    (tmp_path / "judge" / "fast-1").rename(tmp_path / "fast-1")
    with pytest.raises(Interrupted):
        race(tmp_path, fast(optimizer__lr=0.2), fast(), log=interrupt)
    (tmp_path / "judge" / "fast-1").rename(tmp_path / "nothing")
    (tmp_path / "fast-1").rename(tmp_path / "judge" / "fast-1")
    with pytest.raises(RunFolderError, match="a run of another recipe than the candidate's"):
        race(tmp_path, fast(optimizer__lr=0.2), fast(), resume=True)
    assert RecordBook(tmp_path).entries()[0].verdict is None


def interrupt(line: str) -> None:
    """Send a signal as the first run begins."""
    if line.endswith(" ..."):
        os.kill(os.getpid(), signal.SIGINT)


def test_an_accepted_recipe_is_not_scaled_again(tmp_path: Path) -> None:
    """Its recipe is in the book: no run folder is needed."""
    book, recipes = RecordBook(tmp_path), {"candidate": fast(), "incumbent": poor()}
    texts = {side: to_yaml(scale_recipe(recipe, 0.5)) for side, recipe in recipes.items()}
    keys = ("candidate", "incumbent", "candidate_fingerprint", "incumbent_fingerprint")
    question = {"goal": "accuracy", "margin": 0.2, "most": 3, **dict.fromkeys(keys, "made")}
    facts = {"command": "made", "recipes": texts}
    claim = book.begin(Claim, "made", question, facts, resume=False, log=lambda _: None)
    book.close(
        VerdictEvent(
            number=1,
            name=claim.name,
            time=now(),
            verdict="accepted",
            reason="made",
            is_closed=True,
            evidence=Evidence(),
        )
    )
    with pytest.raises(Interrupted):
        race(tmp_path, fast(optimizer__lr=0.11), "made-1", scale=0.5, log=interrupt)
    claim = book.entries()[1].race
    assert isinstance(claim, Claim)
    candidate, incumbent = (
        from_text(claim.recipes[side], "made", tmp_path) for side in ("candidate", "incumbent")
    )
    assert incumbent == scale_recipe(fast(), 0.5)
    assert candidate == scale_recipe(fast(optimizer__lr=0.11), 0.5)


def test_it_counts_the_recipes_that_were_judged_on_its_test_images(tmp_path: Path) -> None:
    with_test = fast(evaluation__test=True)
    metric = fast(evaluation__test=True, evaluation__metric="macro_f1")
    first = race(tmp_path, metric, with_test)
    assert (first.verdict.evidence.split, first.verdict.evidence.wear) == ("test", "")
    second = race(tmp_path, fast(evaluation__test=True, optimizer__lr=0.11), with_test, most=3)
    note = "1 other recipe was judged on these test images by the runs here (3 openings)"
    assert second.verdict.evidence.wear.startswith(note)
    assert second.verdict.evidence.wear in describe(second)
    # where one of them keeps its test split closed, nothing is gained by opening the other's
    third = race(tmp_path, metric, fast())
    assert third.verdict.evidence.split == "val" and not third.verdict.evidence.wear
    folders = [RunFolder(path.parent) for path in third.path.glob("*/recipe.yaml")]
    assert folders and not any("test" in (folder.result() or {}) for folder in folders)


def test_a_pause_leaves_no_speedup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The goal is accuracy: a run that was left goes on, and its seconds are none of one run."""
    begun: list[Any] = []

    def signal_and_fit(run: Any) -> Any:
        begun.append(run)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return fit(run)

    monkeypatch.setattr("cifarlab.training.train.fit", signal_and_fit)
    recipes = fast(evaluation__metric="macro_f1"), fast()
    with pytest.raises(Interrupted):
        race(tmp_path, *recipes)
    judged = race(tmp_path, *recipes, resume=True)
    evidence = judged.verdict.evidence
    assert "paused and went on later" in evidence.laps[0].obstacle and not evidence.laps[1].obstacle
    assert evidence.speedup is None and not any("seconds" in line for line in describe(judged))


def test_two_processes_write_into_one_book(tmp_path: Path) -> None:
    (tmp_path / "fast.yaml").write_text(to_yaml(fast()))
    words = [sys.executable, "-m", "cifarlab", "judge", "fast.yaml", "--against", "fast.yaml"]
    metrics = [f"evaluation.metric={metric}" for metric in ("macro_f1", "balanced_accuracy")]
    processes = [
        subprocess.Popen([*words, metric], cwd=tmp_path, stdout=subprocess.DEVNULL)
        for metric in metrics
    ]
    assert [process.wait() for process in processes] == [3, 3]
    entries = RecordBook(tmp_path / "runs").entries()
    assert [entry.state for entry in entries] == ["rejected", "rejected"]
    assert {entry.race.name for entry in entries} == {"fast-1", "fast-2"}


def test_runs_are_interleaved_and_their_order_alternates(tmp_path: Path) -> None:
    lines: list[str] = []
    race(tmp_path, poor(), fast(), log=lines.append)
    sides = [line.split()[2] for line in lines if line.endswith(" ...")]
    seeds = [line.split()[1] for line in lines if line.endswith(" ...")]
    assert sides[:4] == ["incumbent", "candidate", "candidate", "incumbent"]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_a_decided_race_is_not_run_again_by_resuming_it(tmp_path: Path) -> None:
    first = race(tmp_path, fast(evaluation__metric="macro_f1"), fast())
    second = race(tmp_path, fast(evaluation__metric="macro_f1"), fast(), resume=True)
    assert second == first and first.verdict.verdict == "rejected"
    anew = race(tmp_path, fast(evaluation__metric="macro_f1"), fast())
    assert anew.race.number == 2 and anew.race.first_seed != first.race.first_seed


def facts(judged: Judgement) -> Any:
    """What a kill must not change: all but times."""
    verdict, evidence = judged.verdict, judged.verdict.evidence
    accuracies = [
        (lap.seed, {side: score.accuracy for side, score in lap.scores.items()})
        for lap in evidence.laps
    ]
    return verdict.verdict, verdict.reason, verdict.evidence.p, accuracies


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("undisturbed")
    return facts(race(path, poor(), fast()))


@pytest.mark.parametrize("number", range(1, 7))
def test_interrupted_and_resumed_is_the_same(
    undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The signal comes as the run of that number begins."""
    begun: list[Any] = []

    def fit_and_signal(run: Any) -> Any:
        begun.append(run)
        if len(begun) == number:
            os.kill(os.getpid(), signal.SIGINT)
        return fit(run)

    monkeypatch.setattr("cifarlab.training.train.fit", fit_and_signal)
    recipes = poor(), fast()
    with pytest.raises(Interrupted, match="of at most 10 seeds"):
        race(tmp_path, *recipes)
    assert [entry.state for entry in RecordBook(tmp_path).entries()] == ["open"]
    assert facts(race(tmp_path, *recipes, resume=True)) == undisturbed


@pytest.mark.parametrize("n_finished", [0, 1, 3, 4])
def test_killed_and_resumed_is_the_same(undisturbed: Any, tmp_path: Path, n_finished: int) -> None:
    (tmp_path / "fast.yaml").write_text(to_yaml(fast()))
    words = [sys.executable, "-m", "cifarlab", "judge", "fast.yaml", POOR, "--against", "fast.yaml"]
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    folder = tmp_path / "runs" / "judge"
    while process.poll() is None:
        if len(list(folder.glob("*/*/result.json"))) >= n_finished and list(folder.glob("*")):
            break
        time.sleep(0.01)
    process.kill()
    process.wait()
    judged = race(tmp_path / "runs", poor(), fast(), resume=True)
    assert facts(judged) == undisturbed
    assert len(RecordBook(tmp_path / "runs").entries()) == 1


def test_where_seconds_count_a_run_that_was_left_is_trained_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal comes in the first run after the two that only warm up."""
    begun: list[Any] = []

    def signal_and_fit(run: Any) -> Any:
        begun.append(run.folder.path.name)
        if len(begun) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return fit(run)

    recipes = fast(training__duration="1 epoch"), fast()
    options = {"goal": "time-to-accuracy", "most": 3}
    monkeypatch.setattr("cifarlab.training.train.fit", signal_and_fit)
    with pytest.raises(Interrupted):
        race(tmp_path, *recipes, **options)
    judged = race(tmp_path, *recipes, **options, resume=True)
    first = judged.race.first_seed
    assert begun[:3] == ["warm-up-incumbent", "warm-up-candidate", f"incumbent-s{first}"]
    assert begun[3:6] == ["warm-up-incumbent", "warm-up-candidate", f"incumbent-s{first}-2"]
    assert not list(judged.path.glob("warm-up*"))
    folders = [RunFolder(path.parent) for path in judged.path.glob("*/result.json")]
    assert {len(folder.provenance()["starts"]) for folder in folders} == {1}


def test_python_shows_what_came_of_it(tmp_path: Path) -> None:
    import cifarlab as lab

    judged = lab.judge(poor(), fast(), runs=tmp_path)
    assert (
        repr(judged) == "<JudgementView fast-1: rejected, no gain of 0.2 points or more; 5 seeds>"
    )
    assert not judged.is_accepted and judged.json["exit_code"] == 3
    assert "<table" in judged._repr_html_() and "rejected: no gain" in judged._repr_html_()
    table = lab.records(runs=tmp_path)
    assert repr(table) == f"<RecordTable {tmp_path}: 1 rejected>"
    assert list(table.frame.index) == ["speed/94", "fast-1"] and "<table" in table._repr_html_()
    with pytest.raises(UserError, match="no record"):
        lab.records("other", runs=tmp_path)
