"""What a search decides at its rungs, how that is written down, and how it survives its driver."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from made_search import drawn_event, small
from ray.tune.schedulers import ASHAScheduler

from cifarlab.config.family import set_kind_owner
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.driver import SearchDriver
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.schedulers import NoStopping, TrialSchedulerConfig
from cifarlab.experiments.search.trial_history import RungDecision, TrialHistory
from cifarlab.experiments.worker import Job


def rays_asha(search: Search, lines: list[tuple[int, int, float]]) -> set[int]:
    """Whom Ray Tune's ASHA stops, of (trial, epoch, score) in their order."""
    asha = ASHAScheduler(
        time_attr="epoch",
        metric="score",
        mode="max",
        max_t=search.epochs() + 1,  # or it "stops" all at their last epoch
        grace_period=1,
        reduction_factor=3,
        stop_last_trials=False,
    )
    for trial in range(search.trials):
        asha.on_trial_add(None, SimpleNamespace(trial_id=trial))
    stopped: set[int] = set()
    for trial, epoch, score in lines:
        if trial not in stopped and epoch < search.epochs():
            result = {"epoch": epoch, "score": score}
            if asha.on_trial_result(None, SimpleNamespace(trial_id=trial), result) == "STOP":
                stopped.add(trial)
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


def test_a_scheduler_that_says_no_rungs_compares_after_each_epoch() -> None:
    with set_kind_owner("this test"):

        class Best(TrialSchedulerConfig):
            kind: Literal["best"] = "best"

            def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
                return max(earlier_scores, default=None)

    assert Best().rungs(4, 1) == [1, 2, 3] and NoStopping().rungs(4, 1) == []


class Driver(SearchDriver):
    """A search whose trials are all begun; a loss is ``log_loss``."""

    def __init__(self, path: Path, search: Search) -> None:
        path.mkdir(exist_ok=True)
        base = search.base_recipe()
        super().__init__(search, base, 1.0, SearchFolder(path), "", lambda line: None)
        self.jobs: list[Job] = list(iter(self.next_job, None))

    def report(self, number: int, epoch: int, score: float) -> bool:
        values = {self._metric.name: score, "accuracy": score, "loss": score}
        return self.on_epoch(self.jobs[number], {"epoch": epoch, "val": values})

    @property
    def decisions(self) -> list[RungDecision]:
        return [d for trial in self.history.trials.values() for d in trial.rung_decisions]

    @property
    def rung_events(self) -> list[dict[str, object]]:
        return [event for event in self.folder.events() if event["event"] == "rung"]


def report_all(driver: Driver, lines: list[tuple[int, int, float]]) -> set[int]:
    """Whom it stops."""
    stopped: set[int] = set()
    for trial, epoch, score in lines:
        if trial not in stopped and not driver.report(trial, epoch, score):
            stopped.add(trial)
    return stopped


def test_where_less_is_better_it_decides_the_opposite(tmp_path: Path) -> None:
    more = Driver(tmp_path / "more", small(max_epochs="12 epochs", trials=20))
    less = Driver(tmp_path / "less", small(max_epochs="12 epochs", trials=20, metric="log_loss"))
    lines = results(small(max_epochs="12 epochs", trials=20), 0)
    stopped = report_all(more, lines)
    assert stopped == report_all(less, [(*line, -score) for *line, score in lines])
    assert 0 < len(stopped) < 20
    for more_said, less_said in zip(more.rung_events, less.rung_events, strict=True):
        assert more_said["trial"] == less_said["trial"] and more_said["rank"] == less_said["rank"]
        cutoff = less_said["cutoff"]
        assert more_said["cutoff"] == (cutoff and pytest.approx(-cutoff))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("epochs", [9, 12, 30])
def test_it_decides_as_rays_asha(tmp_path: Path, seed: int, epochs: int) -> None:
    search = small(max_epochs=f"{epochs} epochs", trials=20)
    driver, lines = Driver(tmp_path / "s", search), results(search, seed)
    stopped = report_all(driver, lines)
    assert stopped == rays_asha(search, lines)
    assert 5 < len(stopped) < 20
    assert {n for n, t in driver.history.trials.items() if t.stopped} == stopped


def test_each_decision_says_the_rung_the_cutoff_and_the_rank(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", small())
    for number, score in enumerate([0.5, 0.4, 0.6, 0.3]):
        driver.report(number, 1, score)
    decisions = driver.decisions
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
    undisturbed = Driver(tmp_path / "whole", search)
    whole = report_all(undisturbed, lines)
    first = report_all(Driver(tmp_path / "killed", search), lines[:cut])
    second = Driver(tmp_path / "killed", search)
    # resumed trials tell their epochs again, also those that were judged before
    again = report_all(second, lines[:cut])
    assert again == first
    assert first | report_all(second, [x for x in lines[cut:] if x[0] not in first]) == whole
    assert second.rung_events == undisturbed.rung_events


def test_without_the_record_it_would_decide_otherwise(tmp_path: Path) -> None:
    """The test above can fail: a new search without the scores stops other trials."""
    search = small(max_epochs="12 epochs", trials=20)
    lines = results(search, 0)
    whole = report_all(Driver(tmp_path / "whole", search), lines)
    assert report_all(Driver(tmp_path / "empty", search), lines[23:]) != whole


def test_a_trial_at_its_last_epoch_is_not_stopped(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", small())
    assert all(driver.report(number, 9, 0.5 - number / 10) for number in range(4))
    assert not driver.rung_events


def test_a_score_is_the_best_so_far(tmp_path: Path) -> None:
    driver = Driver(tmp_path / "s", small())
    for epoch, score in enumerate([0.5, 0.2, 0.3], 1):
        driver.report(0, epoch, score)
    assert [event["score"] for event in driver.rung_events] == [0.5, 0.5]


def test_without_a_scheduler_everything_goes_on(tmp_path: Path) -> None:
    search = small(scheduler={"kind": "none"})
    driver = Driver(tmp_path / "s", search)
    assert not report_all(driver, results(search, 0)) and driver.rung_events == []


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    search = small(trials=1)
    first = Driver(tmp_path / "s", search)
    with first.folder.events_file.open("a") as file:
        file.write('{"event": "dra')
    again = SearchFolder(tmp_path / "s")
    again.repair()
    again.append_event(drawn_event(1, {"seed": 2}))
    trials = list(TrialHistory(again.events()).trials.values())
    assert [trial.number for trial in trials] == [0, 1] and trials[1].params == {"seed": 2}
