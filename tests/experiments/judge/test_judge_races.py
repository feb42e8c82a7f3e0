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

from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.engine import Judgement
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted, RunFolderError, UserError
from cifarlab.training.loop import fit


def test_a_budget_ends_a_race_that_may_go_on(tmp_path: Path) -> None:
    recipes = fast(optimizer__lr=0.11), fast()
    first = race(tmp_path, *recipes, most=3, budget="1 s")
    assert first.exit_code == 4 and first.verdict.reason.startswith("1 s are spent")
    with pytest.raises(RunFolderError, match="begun and is not finished"):
        race(tmp_path, *recipes, most=3)
    second = race(tmp_path, *recipes, most=3, resume=True)
    assert second.race == first.race and second.verdict.is_closed
    before, after = (judged.verdict.evidence.laps for judged in (first, second))
    assert after[: len(before)] == before
    assert len(RecordBook(tmp_path).entries()) == 1


def test_a_candidate_that_diverges_is_rejected(tmp_path: Path) -> None:
    wild = fast(optimizer__lr=1e30, schedule__warmup="0 epochs")
    judged = race(tmp_path, wild, fast())
    assert judged.exit_code == 3 and "the candidate's run failed" in judged.verdict.reason
    judged = race(tmp_path, fast(), wild)
    assert judged.exit_code == 4 and "the incumbent's run failed" in judged.verdict.reason


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
    assert repr(judged) == f"<JudgementView fast-1: rejected, worse; {len(judged.frame)} seeds>"
    assert not judged.is_accepted and judged.json["exit_code"] == 3
    assert "<table" in judged._repr_html_() and "rejected: worse" in judged._repr_html_()
    table = lab.records(runs=tmp_path)
    assert repr(table) == f"<RecordTable {tmp_path}: 1 rejected>"
    assert list(table.frame.index) == ["speed/94", "fast-1"] and "<table" in table._repr_html_()
    with pytest.raises(UserError, match="no record"):
        lab.records("other", runs=tmp_path)
