"""Draws depend on the seed, the trial's number and, under TPE, the scores known by then."""

from pathlib import Path
from typing import Any

import pytest
from made_search import SPACE, small

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.event_log import EventLog
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.messages import EPOCH, FAILURE, JOB, SCORE, STOP_REASON, TRIAL
from cifarlab.experiments.search.searcher import ParamSampler, TrialSearcher
from cifarlab.experiments.search.trial_history import drawn_event, ended_event

TPE = {"kind": "tpe", "n_startup_trials": 3}


def walk(search: Search, count: int) -> list[dict[str, Any]]:
    """The events of a search of one trial at a time whose score is the rate."""
    sampler, events = ParamSampler(search, search.base_recipe()), []
    for number in range(count):
        params = sampler.suggest(number)
        events += [
            drawn_event(number, params),
            ended_event(number, "planned", 9, params["optimizer.lr"]),
        ]
        sampler.tell(number, params["optimizer.lr"])
    return events


def params_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["params"] for event in events if event["event"] == "drawn"]


@pytest.mark.parametrize("sampler", [{"kind": "random"}, TPE])
def test_the_seed_decides_and_another_seed_decides_otherwise(sampler: dict[str, Any]) -> None:
    search = small(sampler=sampler)
    assert walk(search, 8) == walk(search, 8)
    assert walk(search, 8) != walk(small(sampler=sampler, seed=1), 8)
    rates = [params["optimizer.lr"] for params in params_of(walk(search, 8))]
    assert len(set(rates)) == 8


@pytest.mark.parametrize("sampler", [{"kind": "random"}, TPE])
@pytest.mark.parametrize("cut", [1, 4, 9, 13])
def test_a_resumed_search_draws_what_it_would_have(sampler: dict[str, Any], cut: int) -> None:
    search = small(sampler=sampler)
    events = walk(search, 8)
    resumed = ParamSampler(search, search.base_recipe())
    resumed.replay(events[:cut])
    n_drawn = len(params_of(events[:cut]))
    ended_events = [e for e in events[:cut] if e["event"] == "ended"]
    if len(ended_events) < n_drawn:
        resumed.tell(n_drawn - 1, events[2 * n_drawn - 1]["score"])
    for number in range(n_drawn, 8):
        params = resumed.suggest(number)
        assert params == events[2 * number]["params"]
        resumed.tell(number, params["optimizer.lr"])


def test_tpe_learns_where_random_does_not() -> None:
    def mean_of_last(sampler: dict[str, Any]) -> float:
        rates = [v["optimizer.lr"] for v in params_of(walk(small(sampler=sampler), 40))]
        return sum(rates[20:]) / 20

    assert mean_of_last({"kind": "tpe"}) > 1.5 * mean_of_last({"kind": "random"})


def test_what_was_drawn_once_stays_even_if_it_would_be_drawn_otherwise_now() -> None:
    search = small()
    sampler = ParamSampler(search, search.base_recipe())
    point = {"optimizer.kind": "adam", "optimizer.lr": 0.05}
    sampler.replay([drawn_event(0, point)])
    new_sampler = ParamSampler(search, search.base_recipe())
    new_sampler.suggest(0)
    assert sampler.suggest(1) == new_sampler.suggest(1)


def start_searcher(path: Path, search: Search) -> tuple[TrialSearcher, EventLog]:
    path.mkdir(exist_ok=True)
    event_log = EventLog(SearchFolder(path), lambda line: None)
    unfinished = [trial for trial in event_log.history.trials.values() if trial.stop_reason is None]
    return TrialSearcher(search, search.base_recipe(), 1.0, event_log, unfinished, 1), event_log


def test_begun_trials_come_first_and_then_new_ones(tmp_path: Path) -> None:
    search = small(trials=4)
    searcher, _ = start_searcher(tmp_path, search)
    first = [searcher.suggest(str(n)) for n in range(2)]
    searcher.on_trial_complete("0", {EPOCH: 9, SCORE: 0.7, STOP_REASON: "planned"})
    again, event_log = start_searcher(tmp_path, search)
    suggested = [again.suggest(f"b{n}") for n in range(4)]
    assert suggested[0] == first[1] and [t[TRIAL] for t in suggested[:3]] == [1, 2, 3]
    assert suggested[3] == "FINISHED"
    assert (
        event_log.history.trials[0].score == 0.7
        and event_log.history.trials[0].stop_reason == "planned"
    )
    assert '"optimizer.lr"' in suggested[0][JOB]


def test_ends_are_written_down_with_their_reasons(tmp_path: Path) -> None:
    searcher, event_log = start_searcher(tmp_path, small(trials=4))
    for number in range(4):
        searcher.suggest(str(number))
    searcher.on_trial_complete("0", {EPOCH: 1, SCORE: 0.3})
    failure = '{"kind": "DivergenceError", "what": "NaN", "hint": "lower"}'
    failed = {EPOCH: 0, SCORE: 0.0, STOP_REASON: "failed", FAILURE: failure}
    searcher.on_trial_complete("1", failed)
    searcher.on_trial_complete("2", None, error=True)
    trials = event_log.history.trials
    assert [trials[n].stop_reason for n in range(4)] == ["stopped", "failed", "failed", None]
    assert trials[1].failure["kind"] == "DivergenceError" and trials[1].score is None
    assert trials[2].failure["kind"] == "WorkerDied" and "memory" in trials[2].failure["hint"]


def test_a_full_disk_ends_the_search_and_no_trial(tmp_path: Path) -> None:
    searcher, event_log = start_searcher(tmp_path, small())
    searcher.suggest("0")
    searcher.on_trial_complete(
        "0", {EPOCH: 0, SCORE: 0.0, "fatal": '["can\'t write", "free some"]'}
    )
    assert (
        searcher.fatal == ["can't write", "free some"]
        and event_log.history.trials[0].stop_reason is None
    )


def test_values_that_contradict_are_a_failed_trial_and_the_next_is_drawn(tmp_path: Path) -> None:
    space = {
        **SPACE,
        # at 0 momentum the quickstart's Nesterov has nothing to look along
        "optimizer.momentum": {
            "kind": "choice",
            "values": [0.0, 0.9],
            "when": {"optimizer.kind": "sgd"},
        },
    }
    searcher, event_log = start_searcher(tmp_path, small(space=space, trials=20))
    suggested = []
    while (one := searcher.suggest(str(len(suggested)))) != "FINISHED":
        suggested.append(one[TRIAL])
    failed = [n for n, trial in event_log.history.trials.items() if trial.failure]
    assert failed and sorted(suggested + failed) == list(range(20))
    assert event_log.history.trials[failed[0]].failure["kind"] == "RecipeError"
