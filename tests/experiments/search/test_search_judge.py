"""ASHA through Ray: what it decides, how that is written down, and how it survives its driver."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_search import small

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.event_log import Notes
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.messages import EPOCH, SCORE, TRIAL
from cifarlab.experiments.search.rung_scheduler import Judge
from cifarlab.experiments.search.trial_history import Ledger, drawn


def notes_in(path: Path) -> Notes:
    path.mkdir(exist_ok=True)
    return Notes(SearchFolder(path), lambda line: None)


def tune_trial(number: int) -> Any:
    return SimpleNamespace(config={TRIAL: number}, trial_id=f"tune's own {number}")


def slow_asha(rungs: list[int], share: float, told: list[tuple[int, int, float]]) -> set[int]:
    """Li et al. 2018 as Ray has it: whom it stops, of (trial, epoch, score) in their order."""
    here: dict[int, list[float]] = {rung: [] for rung in rungs}
    stopped: set[int] = set()
    for trial, epoch, score in told:
        if trial in stopped or epoch not in here:
            continue
        if here[epoch] and score < np.percentile(here[epoch], 100 * share):
            stopped.add(trial)
        here[epoch].append(score)
    return stopped


def told(search: Search, seed: int) -> list[tuple[int, int, float]]:
    """Scores of trials that train at once, in an order that is mixed by chance."""
    rng = np.random.default_rng(seed)
    last = search.epochs()
    curves = {n: np.maximum.accumulate(rng.random(last)) for n in range(search.trials)}
    at = dict.fromkeys(curves, 0)
    lines = []
    while at:
        trial = int(rng.choice(list(at)))
        at[trial] += 1
        lines.append((trial, at[trial], float(curves[trial][at[trial] - 1])))
        if at[trial] == last:
            del at[trial]
    return lines


def judge_all(judge: Judge, lines: list[tuple[int, int, float]]) -> set[int]:
    stopped: set[int] = set()
    for trial, epoch, score in lines:
        if trial in stopped:
            continue
        result = {EPOCH: epoch, SCORE: score}
        if judge.on_trial_result(None, tune_trial(trial), result) == "STOP":
            stopped.add(trial)
    return stopped


def begin(search: Search, notes: Notes) -> Judge:
    judge = Judge(search, 1.0, notes)
    for number in range(search.trials):
        if number not in notes.ledger.trials:
            notes.add(drawn(number, {}))
        judge.on_trial_add(None, tune_trial(number))
    return judge


@pytest.mark.parametrize("seed", range(5))
def test_it_decides_as_the_slow_version(tmp_path: Path, seed: int) -> None:
    search = small(max_epochs="12 epochs", trials=20)
    lines, notes = told(search, seed), notes_in(tmp_path / "s")
    stopped = judge_all(begin(search, notes), lines)
    assert stopped == slow_asha([1, 3, 9], 1 - 1 / 3, lines)
    assert 5 < len(stopped) < 20
    assert {n for n, t in notes.ledger.trials.items() if t.stopped} == stopped


def test_each_decision_says_the_rung_the_cutoff_and_the_rank(tmp_path: Path) -> None:
    search, notes = small(), notes_in(tmp_path / "s")
    judge = begin(search, notes)
    for number, score in enumerate([0.5, 0.4, 0.6, 0.3]):
        judge.on_trial_result(None, tune_trial(number), {EPOCH: 1, SCORE: score})
    verdicts = [verdict for _, verdict in notes.ledger.verdicts]
    assert [v.cutoff for v in verdicts] == [
        None,
        0.5,
        pytest.approx(0.4 + 0.1 * 2 / 3),
        pytest.approx(0.5 + 0.1 / 3),
    ]
    assert [(v.rank, v.of) for v in verdicts] == [(1, 1), (2, 2), (1, 3), (4, 4)]
    assert [v.stopped for v in verdicts] == [False, True, False, True]
    assert all(v.rung == v.epoch == 1 for v in verdicts)


@pytest.mark.parametrize("cut", [1, 7, 23, 60])
def test_a_new_driver_goes_on_as_the_old_one_would_have(tmp_path: Path, cut: int) -> None:
    search = small(max_epochs="12 epochs", trials=20)
    lines = told(search, 0)
    whole = judge_all(begin(search, notes_in(tmp_path / "whole")), lines)
    first = judge_all(begin(search, notes_in(tmp_path / "killed")), lines[:cut])
    second = begin(search, notes_in(tmp_path / "killed"))
    # resumed trials tell their epochs again, also those that were judged before
    again = judge_all(second, lines[:cut])
    assert again == first
    assert first | judge_all(second, [x for x in lines[cut:] if x[0] not in first]) == whole
    records = [
        [line for line in SearchFolder(tmp_path / name).events() if line["event"] == "rung"]
        for name in ("whole", "killed")
    ]
    assert records[0] == records[1]


def test_without_the_record_it_would_decide_otherwise(tmp_path: Path) -> None:
    """The test above can fail: a new ASHA without the scores stops other trials."""
    search = small(max_epochs="12 epochs", trials=20)
    lines = told(search, 0)
    whole = judge_all(begin(search, notes_in(tmp_path / "whole")), lines)
    judge_all(begin(search, notes_in(tmp_path / "killed")), lines[:23])
    forgotten = judge_all(begin(search, notes_in(tmp_path / "empty")), lines[23:])
    assert forgotten != whole


def test_a_trial_at_its_last_epoch_is_not_stopped(tmp_path: Path) -> None:
    search, notes = small(), notes_in(tmp_path / "s")
    judge = begin(search, notes)
    for number in range(4):
        result = {EPOCH: 9, SCORE: 0.5 - number / 10}
        assert judge.on_trial_result(None, tune_trial(number), result) == "CONTINUE"
    assert not notes.ledger.verdicts


def test_without_a_scheduler_everything_goes_on(tmp_path: Path) -> None:
    search, notes = small(scheduler={"kind": "none"}), notes_in(tmp_path / "s")
    judge = begin(search, notes)
    assert not judge_all(judge, told(search, 0))
    assert notes.ledger.verdicts == []


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    notes = notes_in(tmp_path / "s")
    notes.add(drawn(0, {"seed": 1}))
    with notes.folder.record.open("a") as file:
        file.write('{"event": "dra')
    again = notes_in(tmp_path / "s")
    again.add(drawn(1, {"seed": 2}))
    ledger = Ledger(again.folder.events())
    assert [trial.values for trial in ledger.trials.values()] == [{"seed": 1}, {"seed": 2}]
