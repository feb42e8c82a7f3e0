"""ASHA through Ray: what it decides, how that is written down, and how it survives its driver."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from made_search import small

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.event_log import EventLog
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.messages import EPOCH, SCORE, TRIAL
from cifarlab.experiments.search.rung_scheduler import RungScheduler
from cifarlab.experiments.search.trial_history import TrialHistory, drawn_event
from cifarlab.metrics.kinds import ACCURACY, LogLoss, MetricFacts


def event_log_in(path: Path) -> EventLog:
    path.mkdir(exist_ok=True)
    return EventLog(SearchFolder(path), lambda line: None)


def tune_trial(number: int) -> Any:
    return SimpleNamespace(config={TRIAL: number}, trial_id=f"tune's own {number}")


def slow_asha(rungs: list[int], quantile: float, results: list[tuple[int, int, float]]) -> set[int]:
    """Li et al. 2018 as Ray has it: whom it stops, of (trial, epoch, score) in their order."""
    here: dict[int, list[float]] = {rung: [] for rung in rungs}
    stopped: set[int] = set()
    for trial, epoch, score in results:
        if trial in stopped or epoch not in here:
            continue
        if here[epoch] and score < np.percentile(here[epoch], 100 * quantile):
            stopped.add(trial)
        here[epoch].append(score)
    return stopped


def results(search: Search, seed: int) -> list[tuple[int, int, float]]:
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


def run_scheduler(scheduler: RungScheduler, lines: list[tuple[int, int, float]]) -> set[int]:
    stopped: set[int] = set()
    for trial, epoch, score in lines:
        if trial in stopped:
            continue
        result = {EPOCH: epoch, SCORE: score}
        if scheduler.on_trial_result(None, tune_trial(trial), result) == "STOP":
            stopped.add(trial)
    return stopped


def start_trials(
    search: Search, event_log: EventLog, metric: MetricFacts = ACCURACY
) -> RungScheduler:
    scheduler = RungScheduler(search, 1.0, event_log, metric)
    for number in range(search.trials):
        if number not in event_log.history.trials:
            event_log.add(drawn_event(number, {}))
        scheduler.on_trial_add(None, tune_trial(number))
    return scheduler


def test_where_less_is_better_it_decides_the_opposite(tmp_path: Path) -> None:
    search = small(max_epochs="12 epochs", trials=20)
    lines, logs = results(search, 0), [event_log_in(tmp_path / name) for name in "ab"]
    more, less = (
        start_trials(search, log, metric)
        for log, metric in zip(logs, (ACCURACY, LogLoss().facts), strict=True)
    )
    stopped = run_scheduler(more, lines)
    assert stopped == run_scheduler(less, [(*line, -score) for *line, score in lines])
    assert 0 < len(stopped) < 20
    for (one, more_said), (other, less_said) in zip(
        *(log.history.rung_decisions for log in logs), strict=True
    ):
        assert one == other and more_said.rank == less_said.rank
        assert more_said.cutoff == (less_said.cutoff and pytest.approx(-less_said.cutoff))


@pytest.mark.parametrize("seed", range(5))
def test_it_decides_as_the_slow_version(tmp_path: Path, seed: int) -> None:
    search = small(max_epochs="12 epochs", trials=20)
    lines, event_log = results(search, seed), event_log_in(tmp_path / "s")
    stopped = run_scheduler(start_trials(search, event_log), lines)
    assert stopped == slow_asha([1, 3, 9], 1 - 1 / 3, lines)
    assert 5 < len(stopped) < 20
    assert {n for n, t in event_log.history.trials.items() if t.stopped} == stopped


def test_each_decision_says_the_rung_the_cutoff_and_the_rank(tmp_path: Path) -> None:
    search, event_log = small(), event_log_in(tmp_path / "s")
    scheduler = start_trials(search, event_log)
    for number, score in enumerate([0.5, 0.4, 0.6, 0.3]):
        scheduler.on_trial_result(None, tune_trial(number), {EPOCH: 1, SCORE: score})
    decisions = [decision for _, decision in event_log.history.rung_decisions]
    assert [v.cutoff for v in decisions] == [
        None,
        0.5,
        pytest.approx(0.4 + 0.1 * 2 / 3),
        pytest.approx(0.5 + 0.1 / 3),
    ]
    assert [(v.rank, v.n_reached) for v in decisions] == [(1, 1), (2, 2), (1, 3), (4, 4)]
    assert [v.stopped for v in decisions] == [False, True, False, True]
    assert all(v.rung == v.epoch == 1 for v in decisions)


@pytest.mark.parametrize("cut", [1, 7, 23, 60])
def test_a_new_driver_goes_on_as_the_old_one_would_have(tmp_path: Path, cut: int) -> None:
    search = small(max_epochs="12 epochs", trials=20)
    lines = results(search, 0)
    whole = run_scheduler(start_trials(search, event_log_in(tmp_path / "whole")), lines)
    first = run_scheduler(start_trials(search, event_log_in(tmp_path / "killed")), lines[:cut])
    second = start_trials(search, event_log_in(tmp_path / "killed"))
    # resumed trials tell their epochs again, also those that were judged before
    again = run_scheduler(second, lines[:cut])
    assert again == first
    assert first | run_scheduler(second, [x for x in lines[cut:] if x[0] not in first]) == whole
    records = [
        [line for line in SearchFolder(tmp_path / name).events() if line["event"] == "rung"]
        for name in ("whole", "killed")
    ]
    assert records[0] == records[1]


def test_without_the_record_it_would_decide_otherwise(tmp_path: Path) -> None:
    """The test above can fail: a new ASHA without the scores stops other trials."""
    search = small(max_epochs="12 epochs", trials=20)
    lines = results(search, 0)
    whole = run_scheduler(start_trials(search, event_log_in(tmp_path / "whole")), lines)
    run_scheduler(start_trials(search, event_log_in(tmp_path / "killed")), lines[:23])
    forgotten = run_scheduler(start_trials(search, event_log_in(tmp_path / "empty")), lines[23:])
    assert forgotten != whole


def test_a_trial_at_its_last_epoch_is_not_stopped(tmp_path: Path) -> None:
    search, event_log = small(), event_log_in(tmp_path / "s")
    scheduler = start_trials(search, event_log)
    for number in range(4):
        result = {EPOCH: 9, SCORE: 0.5 - number / 10}
        assert scheduler.on_trial_result(None, tune_trial(number), result) == "CONTINUE"
    assert not event_log.history.rung_decisions


def test_without_a_scheduler_everything_goes_on(tmp_path: Path) -> None:
    search, event_log = small(scheduler={"kind": "none"}), event_log_in(tmp_path / "s")
    scheduler = start_trials(search, event_log)
    assert not run_scheduler(scheduler, results(search, 0))
    assert event_log.history.rung_decisions == []


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    event_log = event_log_in(tmp_path / "s")
    event_log.add(drawn_event(0, {"seed": 1}))
    with event_log.folder.events_file.open("a") as file:
        file.write('{"event": "dra')
    again = event_log_in(tmp_path / "s")
    again.add(drawn_event(1, {"seed": 2}))
    history = TrialHistory(again.folder.events())
    assert [trial.params for trial in history.trials.values()] == [{"seed": 1}, {"seed": 2}]
