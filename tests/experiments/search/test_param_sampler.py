"""Draws depend on the seed, the trial's number and, under TPE, the scores so far."""

from pathlib import Path
from typing import Any

import pytest
from made_search import SPACE, drawn_event, ended_event, small

from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.driver import ParamSampler, SearchDriver
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.worker import Failure, Job, JobResult

TPE = {"kind": "tpe", "n_startup_trials": 3}


def search_events(search: Search, count: int) -> list[dict[str, Any]]:
    """The events of a search of one trial at a time whose score is the learning rate."""
    sampler, events = ParamSampler(search, search.base_recipe()), []
    for number in range(count):
        params = sampler.suggest(number)
        events += [
            drawn_event(number, params),
            ended_event(number, "planned", 9, params["optimizer.lr"]),
        ]
        sampler.tell(number, params["optimizer.lr"])
    return events


def replay(sampler: ParamSampler, events: list[dict[str, Any]]) -> None:
    for event in events:
        if event["event"] == "drawn":
            sampler.repeat(event["trial"], event["params"])
        else:
            sampler.tell(event["trial"], event["score"])


def params_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["params"] for event in events if event["event"] == "drawn"]


@pytest.mark.parametrize("sampler", [{"kind": "random"}, TPE])
def test_the_seed_decides_and_another_seed_decides_otherwise(sampler: dict[str, Any]) -> None:
    search = small(sampler=sampler)
    assert search_events(search, 8) == search_events(search, 8)
    assert search_events(search, 8) != search_events(small(sampler=sampler, seed=1), 8)
    lrs = [params["optimizer.lr"] for params in params_of(search_events(search, 8))]
    assert len(set(lrs)) == 8


@pytest.mark.parametrize("sampler", [{"kind": "random"}, TPE])
@pytest.mark.parametrize("cut", [1, 4, 9, 13])
def test_a_resumed_search_draws_what_it_would_have(sampler: dict[str, Any], cut: int) -> None:
    search = small(sampler=sampler)
    events = search_events(search, 8)
    resumed = ParamSampler(search, search.base_recipe())
    replay(resumed, events[:cut])
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
        lrs = [v["optimizer.lr"] for v in params_of(search_events(small(sampler=sampler), 40))]
        return sum(lrs[20:]) / 20

    assert mean_of_last({"kind": "tpe"}) > 1.5 * mean_of_last({"kind": "random"})


def test_recorded_params_are_kept_even_if_they_would_be_drawn_differently_now() -> None:
    search = small()
    sampler = ParamSampler(search, search.base_recipe())
    point = {"optimizer.kind": "adam", "optimizer.lr": 0.05}
    sampler.repeat(0, point)
    new_sampler = ParamSampler(search, search.base_recipe())
    new_sampler.suggest(0)
    assert sampler.suggest(1) == new_sampler.suggest(1)


def start_driver(path: Path, search: Search) -> SearchDriver:
    path.mkdir(exist_ok=True)
    folder = SearchFolder(path)
    return SearchDriver(search, search.base_recipe(), 1.0, folder, "", lambda line: None)


def all_jobs(driver: SearchDriver) -> list[Job]:
    return list(iter(driver.next_job, None))


def test_begun_trials_come_first_and_then_new_ones(tmp_path: Path) -> None:
    search = small(trials=4)
    driver = start_driver(tmp_path, search)
    first = [driver.next_job() for _ in range(2)]
    driver.on_epoch(first[0], {"epoch": 9, "val": {"accuracy": 0.7}})
    driver.on_end(first[0], JobResult("planned"))
    resumed = start_driver(tmp_path, search)
    assert [trial.number for trial in resumed.unfinished_trials] == [1] and resumed.n_pending == 3
    jobs = all_jobs(resumed)
    assert jobs[0] == first[1] and [job.name[-1] for job in jobs] == ["1", "2", "3"]
    trial = resumed.history.trials[0]
    assert trial.score == 0.7 and trial.stop_reason == "planned"


def test_a_trial_is_the_recipe_with_its_values_and_a_closed_test_split(tmp_path: Path) -> None:
    driver = start_driver(tmp_path, small(trials=1))
    (job,) = all_jobs(driver)
    params = driver.history.trials[0].params
    assert job.recipe.name == "made/trial-000" and not job.recipe.evaluation.test
    assert job.recipe.optimizer.lr == params["optimizer.lr"] and driver.n_pending == 1


def test_ends_are_written_down_with_their_reasons(tmp_path: Path) -> None:
    driver = start_driver(tmp_path, small(trials=3))
    jobs = all_jobs(driver)
    driver.on_epoch(jobs[0], {"epoch": 1, "val": {"accuracy": 0.3}})
    driver.on_end(jobs[0], JobResult("stopped"))
    driver.on_end(jobs[1], JobResult(failure=Failure("DivergenceError", "NaN", "lower")))
    trials = start_driver(tmp_path, small(trials=3)).history.trials
    assert [trials[n].stop_reason for n in range(3)] == ["stopped", "failed", None]
    assert trials[0].score == 0.3 and trials[0].epochs == 1
    assert trials[1].failure.kind == "DivergenceError" and trials[1].score is None


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
    driver = start_driver(tmp_path, small(space=space, trials=20))
    suggested = [int(job.name[-3:]) for job in all_jobs(driver)]
    trials = driver.history.trials
    failed = [n for n, trial in trials.items() if trial.failure]
    assert failed and sorted(suggested + failed) == list(range(20))
    assert trials[failed[0]].failure.kind == "RecipeError"
