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
    points, events = ParamSampler(search, search.base_recipe()), []
    for number in range(count):
        values = points.suggest(number)
        events += [
            drawn_event(number, values),
            ended_event(number, "planned", 9, values["optimizer.lr"]),
        ]
        points.tell(number, values["optimizer.lr"])
    return events


def values_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["params"] for event in events if event["event"] == "drawn"]


@pytest.mark.parametrize("sampler", [{"kind": "random"}, TPE])
def test_the_seed_decides_and_another_seed_decides_otherwise(sampler: dict[str, Any]) -> None:
    search = small(sampler=sampler)
    assert walk(search, 8) == walk(search, 8)
    assert walk(search, 8) != walk(small(sampler=sampler, seed=1), 8)
    rates = [values["optimizer.lr"] for values in values_of(walk(search, 8))]
    assert len(set(rates)) == 8


@pytest.mark.parametrize("sampler", [{"kind": "random"}, TPE])
@pytest.mark.parametrize("cut", [1, 4, 9, 13])
def test_a_resumed_search_draws_what_it_would_have(sampler: dict[str, Any], cut: int) -> None:
    search = small(sampler=sampler)
    events = walk(search, 8)
    points = ParamSampler(search, search.base_recipe())
    points.replay(events[:cut])
    begun = len(values_of(events[:cut]))
    told = [e for e in events[:cut] if e["event"] == "ended"]
    if len(told) < begun:
        points.tell(begun - 1, events[2 * begun - 1]["score"])
    for number in range(begun, 8):
        values = points.suggest(number)
        assert values == events[2 * number]["params"]
        points.tell(number, values["optimizer.lr"])


def test_tpe_learns_where_random_does_not() -> None:
    def mean_of_last(sampler: dict[str, Any]) -> float:
        rates = [v["optimizer.lr"] for v in values_of(walk(small(sampler=sampler), 40))]
        return sum(rates[20:]) / 20

    assert mean_of_last({"kind": "tpe"}) > 1.5 * mean_of_last({"kind": "random"})


def test_what_was_drawn_once_stays_even_if_it_would_be_drawn_otherwise_now() -> None:
    search = small()
    points = ParamSampler(search, search.base_recipe())
    point = {"optimizer.kind": "adam", "optimizer.lr": 0.05}
    points.replay([drawn_event(0, point)])
    fresh = ParamSampler(search, search.base_recipe())
    fresh.suggest(0)
    assert points.suggest(1) == fresh.suggest(1)


def begin(path: Path, search: Search) -> tuple[TrialSearcher, EventLog]:
    path.mkdir(exist_ok=True)
    notes = EventLog(SearchFolder(path), lambda line: None)
    begun = [trial for trial in notes.history.trials.values() if trial.stop_reason is None]
    return TrialSearcher(search, search.base_recipe(), 1.0, notes, begun, 1), notes


def test_begun_trials_come_first_and_then_new_ones(tmp_path: Path) -> None:
    search = small(trials=4)
    draws, _ = begin(tmp_path, search)
    first = [draws.suggest(str(n)) for n in range(2)]
    draws.on_trial_complete("0", {EPOCH: 9, SCORE: 0.7, STOP_REASON: "planned"})
    again, notes = begin(tmp_path, search)
    told = [again.suggest(f"b{n}") for n in range(4)]
    assert told[0] == first[1] and [t[TRIAL] for t in told[:3]] == [1, 2, 3]
    assert told[3] == "FINISHED"
    assert notes.history.trials[0].score == 0.7 and notes.history.trials[0].stop_reason == "planned"
    assert '"optimizer.lr"' in told[0][JOB]


def test_ends_are_written_down_with_their_reasons(tmp_path: Path) -> None:
    draws, notes = begin(tmp_path, small(trials=4))
    for number in range(4):
        draws.suggest(str(number))
    draws.on_trial_complete("0", {EPOCH: 1, SCORE: 0.3})
    failure = '{"kind": "DivergenceError", "what": "NaN", "hint": "lower"}'
    failed = {EPOCH: 0, SCORE: 0.0, STOP_REASON: "failed", FAILURE: failure}
    draws.on_trial_complete("1", failed)
    draws.on_trial_complete("2", None, error=True)
    trials = notes.history.trials
    assert [trials[n].stop_reason for n in range(4)] == ["stopped", "failed", "failed", None]
    assert trials[1].failure["kind"] == "DivergenceError" and trials[1].score is None
    assert trials[2].failure["kind"] == "WorkerDied" and "memory" in trials[2].failure["hint"]


def test_a_full_disk_ends_the_search_and_no_trial(tmp_path: Path) -> None:
    draws, notes = begin(tmp_path, small())
    draws.suggest("0")
    draws.on_trial_complete("0", {EPOCH: 0, SCORE: 0.0, "fatal": '["can\'t write", "free some"]'})
    assert (
        draws.fatal == ["can't write", "free some"] and notes.history.trials[0].stop_reason is None
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
    draws, notes = begin(tmp_path, small(space=space, trials=20))
    told = []
    while (one := draws.suggest(str(len(told)))) != "FINISHED":
        told.append(one[TRIAL])
    failed = [n for n, trial in notes.history.trials.items() if trial.failure]
    assert failed and sorted(told + failed) == list(range(20))
    assert notes.history.trials[failed[0]].failure["kind"] == "RecipeError"
