"""Decisions at rungs: they are Ray Tune's, are recorded, and are repeated by a new driver."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
from made_search import drawn_event, small
from ray.tune.schedulers import ASHAScheduler

from cifarlab.config.family import set_kind_owner
from cifarlab.experiments.search.definition import Search, find_search
from cifarlab.experiments.search.driver import SearchDriver
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.record import RungDecision
from cifarlab.experiments.search.schedulers import ASHA, NoStopping, TrialSchedulerConfig
from cifarlab.experiments.worker import Job

# validation accuracies of 30 trials of 30 epochs on the digits, each trained to its end
RECORDED = json.loads(Path(__file__).with_name("recorded_scores.json").read_text())


def asha_of_ray(search: Search) -> Callable[[int, int, float], bool]:
    """Return a function of (trial, epoch, best score): whether Ray Tune's ASHA stops the trial."""
    assert isinstance(search.scheduler, ASHA)
    asha = ASHAScheduler(
        time_attr="epoch",
        metric="score",
        mode="max",
        max_t=search.epochs(),
        grace_period=int(search.scheduler.grace_period.value),
        reduction_factor=search.scheduler.reduction_factor,
    )
    for trial in range(search.trials):
        asha.on_trial_add(None, SimpleNamespace(trial_id=trial))

    def stops(trial: int, epoch: int, score: float) -> bool:
        if epoch == search.epochs():
            return False  # where Ray "stops" all
        result = {"epoch": epoch, "score": score}
        return asha.on_trial_result(None, SimpleNamespace(trial_id=trial), result) == "STOP"

    return stops


def stopped_by_ray(search: Search, lines: list[tuple[int, int, float]]) -> set[int]:
    """Return the trials that Ray Tune's ASHA stops; ``lines`` are (trial, epoch, score)."""
    stops, stopped = asha_of_ray(search), set[int]()
    for trial, epoch, score in lines:
        if trial not in stopped and stops(trial, epoch, score):
            stopped.add(trial)
    return stopped


def draw_lines(search: Search, seed: int) -> list[tuple[int, int, float]]:
    """Scores of trials that train at once, in an order that is mixed by chance."""
    rng = np.random.default_rng(seed)
    last = search.epochs()
    curves = {n: np.maximum.accumulate(rng.random(last)) for n in range(search.trials)}
    epochs = dict.fromkeys(curves, 0)
    lines = []
    while epochs:
        trial = int(rng.choice(list(epochs)))
        epochs[trial] += 1
        lines.append((trial, epochs[trial], float(curves[trial][epochs[trial] - 1])))
        if epochs[trial] == last:
            del epochs[trial]
    return lines


def test_a_scheduler_without_rungs_compares_after_each_epoch() -> None:
    with set_kind_owner("this test"):

        class Best(TrialSchedulerConfig):
            kind: Literal["best"] = "best"

            def cutoff(self, earlier_scores: Sequence[float]) -> float | None:
                return max(earlier_scores, default=None)

    assert Best().rungs(4, 1) == [1, 2, 3] and NoStopping().rungs(4, 1) == []


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_a_cutoff_is_numpy_s_percentile_to_the_bit(factor: int) -> None:
    rng, asha = np.random.default_rng(factor), ASHA(reduction_factor=factor)
    for n in range(1, 200):
        scores = np.sort(rng.choice(rng.normal(size=1 + n // 2), n)).tolist()  # some are equal
        expected = np.nanpercentile(scores, 100 * (1 - 1 / factor))
        assert asha.cutoff(scores) == expected
    assert asha.cutoff([]) is None


class MadeDriver(SearchDriver):
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
        return [event for event in self.folder.events.read() if event["event"] == "rung"]


def report_all(driver: MadeDriver, lines: list[tuple[int, int, float]]) -> set[int]:
    """Return the trials that it stops."""
    stopped: set[int] = set()
    for trial, epoch, score in lines:
        if trial not in stopped and not driver.report(trial, epoch, score):
            stopped.add(trial)
    return stopped


def test_where_less_is_better_it_decides_the_opposite(tmp_path: Path) -> None:
    more = MadeDriver(tmp_path / "more", small(max_epochs="12 epochs", trials=20))
    less = MadeDriver(
        tmp_path / "less", small(max_epochs="12 epochs", trials=20, metric="log_loss")
    )
    lines = draw_lines(small(max_epochs="12 epochs", trials=20), 0)
    stopped = report_all(more, lines)
    assert stopped == report_all(less, [(*line, -score) for *line, score in lines])
    assert 0 < len(stopped) < 20
    for more_event, less_event in zip(more.rung_events, less.rung_events, strict=True):
        assert (
            more_event["trial"] == less_event["trial"] and more_event["rank"] == less_event["rank"]
        )
        cutoff = less_event["cutoff"]
        assert more_event["cutoff"] == (cutoff and pytest.approx(-cutoff))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("epochs", [9, 12, 30])
def test_it_decides_as_the_asha_of_ray_tune(tmp_path: Path, seed: int, epochs: int) -> None:
    search = small(max_epochs=f"{epochs} epochs", trials=20)
    driver, lines = MadeDriver(tmp_path / "s", search), draw_lines(search, seed)
    stopped = report_all(driver, lines)
    assert stopped == stopped_by_ray(search, lines)
    assert 5 < len(stopped) < 20
    assert {n for n, t in driver.history.trials.items() if t.stopped} == stopped


@pytest.mark.parametrize("at_a_time", [1, 4, 30])
@pytest.mark.parametrize("seed", range(3))
def test_recorded_scores_are_decided_on_as_by_ray_with_asha2021_s_settings(
    tmp_path: Path, at_a_time: int, seed: int
) -> None:
    """So many trials train at a time, each as fast as chance has it."""
    search = find_search("asha2021/classic")
    driver, stops = MadeDriver(tmp_path / "s", search), asha_of_ray(search)
    rng, waiting, epochs = np.random.default_rng(seed), list(range(search.trials)), {}
    n_stopped = 0
    while waiting or epochs:
        while waiting and len(epochs) < at_a_time:
            epochs[waiting.pop(0)] = 0
        trial = int(rng.choice(list(epochs)))
        epochs[trial] += 1
        scores = RECORDED[trial][: epochs[trial]]
        stopped = stops(trial, epochs[trial], max(scores))
        assert driver.report(trial, epochs[trial], scores[-1]) is not stopped, (trial, epochs)
        n_stopped += stopped
        if stopped or epochs[trial] == search.epochs():
            del epochs[trial]
    assert 10 < n_stopped < 30 and {d.rung for d in driver.decisions} == {1, 2, 4, 8, 16}


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
def test_decisions_are_those_of_all_earlier_scores(tmp_path: Path, metric: str) -> None:
    """Of scores of which many are equal, some no numbers; half of them by a new driver."""
    search = small(trials=60, metric=metric)
    driver, rng, earlier = MadeDriver(tmp_path / "s", search), np.random.default_rng(0), []
    sign = 1 if metric == "accuracy" else -1
    for number in range(60):
        if number == 30:
            driver = MadeDriver(tmp_path / "s", search)
        score = float("nan") if number in (7, 40) else float(rng.integers(9)) / 9
        driver.report(number, 1, score)
        decision = driver.history.decisions_at(1)[number]
        cutoff = sign * np.nanpercentile(earlier, 100 * (1 - 1 / 3)) if earlier else None
        assert decision.cutoff == cutoff and decision.n_reached == number + 1
        assert decision.rank == 1 + sum(other > sign * score for other in earlier)
        assert decision.stopped == (cutoff is not None and sign * (score - cutoff) < 0)
        earlier.append(sign * score)


def test_each_decision_says_the_rung_the_cutoff_and_the_rank(tmp_path: Path) -> None:
    driver = MadeDriver(tmp_path / "s", small())
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
    lines = draw_lines(search, 0)
    undisturbed = MadeDriver(tmp_path / "whole", search)
    expected = report_all(undisturbed, lines)
    first = report_all(MadeDriver(tmp_path / "killed", search), lines[:cut])
    second = MadeDriver(tmp_path / "killed", search)
    # resumed trials send their epochs again, also those that were decided on before
    replayed = report_all(second, lines[:cut])
    assert replayed == first
    assert first | report_all(second, [x for x in lines[cut:] if x[0] not in first]) == expected
    assert second.rung_events == undisturbed.rung_events


def test_without_the_record_it_would_decide_otherwise(tmp_path: Path) -> None:
    """The test above can fail: a new search without the scores stops other trials."""
    search = small(max_epochs="12 epochs", trials=20)
    lines = draw_lines(search, 0)
    expected = report_all(MadeDriver(tmp_path / "whole", search), lines)
    assert report_all(MadeDriver(tmp_path / "empty", search), lines[23:]) != expected


def test_a_trial_at_its_last_epoch_is_not_stopped(tmp_path: Path) -> None:
    driver = MadeDriver(tmp_path / "s", small())
    assert all(driver.report(number, 9, 0.5 - number / 10) for number in range(4))
    assert not driver.rung_events


def test_a_score_is_the_best_so_far(tmp_path: Path) -> None:
    driver = MadeDriver(tmp_path / "s", small())
    for epoch, score in enumerate([0.5, 0.2, 0.3], 1):
        driver.report(0, epoch, score)
    assert [event["score"] for event in driver.rung_events] == [0.5, 0.5]


def test_without_a_scheduler_all_trials_go_on(tmp_path: Path) -> None:
    search = small(scheduler={"kind": "none"})
    driver = MadeDriver(tmp_path / "s", search)
    assert not report_all(driver, draw_lines(search, 0)) and driver.rung_events == []


def test_a_line_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    search = small(trials=1)
    first = MadeDriver(tmp_path / "s", search)
    with first.folder.events.path.open("a") as file:
        file.write('{"event": "dra')
    folder = SearchFolder(tmp_path / "s")
    folder.events.repair()
    folder.events.append(drawn_event(1, {"seed": 2}))
    trials = list(folder.history().trials.values())
    assert [trial.number for trial in trials] == [0, 1] and trials[1].params == {"seed": 2}
