"""Studies that add seeds until their rows are decided, on runs that are made up, not trained."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from made_plan import (
    STUDY,
    KilledError,
    content_of,
    make_up,
    plain,
    seeds_by_row,
)

from cifarlab.experiments.engine import Experiment
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.worker import Failure, Job, JobResult
from cifarlab.training.callbacks import CallbacksConfig


def test_decided_rows_get_no_more_seeds_and_the_others_do(run: Any) -> None:
    lines: list[str] = []
    finished = run(log=lines.append)
    verdicts = {row.name: row.verdict for row in finished.comparison.rows}
    assert verdicts == {
        "base": "the baseline",
        "good": "better",
        "same": "the same within 0.2 points",
        "open": "undecided",
    }
    seeds = seeds_by_row(finished)
    assert 3 <= seeds["good"] < 8 and 3 <= seeds["same"] < 8
    assert seeds["open"] == seeds["base"] == 8
    runs = content_of(finished)["runs"]
    assert len(runs) == sum(seeds.values()) and {r["state"] for r in runs} == {"finished"}
    looks = [line for line in lines if line.startswith("after ")]
    assert looks[0].startswith("after 3 seeds: good: ") and "open: undecided (p = " in looks[0]
    assert [line[6] for line in looks] == ["3", "4", "5", "6", "7"]
    assert finished.comparison.plan.most == 8 and finished.comparison.margin == 0.002
    assert finished.comparison.n_tests == 3


def test_the_study_ends_where_all_rows_are_decided(run: Any) -> None:
    study = STUDY.model_copy(update={"rows": STUDY.rows[:3]})
    finished = run(study=study)
    seeds = seeds_by_row(finished)
    assert seeds["base"] == max(seeds["good"], seeds["same"]) < 8
    second = run(lambda job: pytest.fail("nothing is left to train"), study)
    assert plain(second) == plain(finished)


def test_the_plan_is_written_before_the_first_run(run: Any, tmp_path: Path) -> None:
    def look(job: Job) -> JobResult:
        content = json.loads((Path(job.path).parent / "study.json").read_text())
        plans.append(content["plan"])
        return make_up(job)

    plans: list[Any] = []
    finished = run(look)
    assert plans[0] == plans[-1] == content_of(finished)["plan"]
    stage = {"first": 3, "last": 8, "part": 1.0}
    assert plans[0] | {"time": "", "rows": []} == {
        "until": "decided",
        "first_seed": 0,
        "n_seeds": 8,
        "margin": 0.2,
        "metric": "accuracy",
        "baseline": "base",
        "looks": [stage],
        "n_seen": 0,
        "n_baseline_seen": 0,
        "n_recipes_seen": 0,
        "number": 1,
        "rows": [],
        "time": "",
    }
    assert list(plans[0]["rows"]) == ["base", "good", "same", "open"] and plans[0]["time"]


@pytest.mark.parametrize("moment", range(10))
def test_killed_and_resumed_has_the_same_verdicts(
    run: Any, moment: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each time at another run: before it, or once it has finished and study.json lacks it."""

    def kill(job: Job) -> JobResult:
        names.append(job.name)
        if len(names) <= 2 * moment:
            return make_up(job)
        if moment % 2:
            make_up(job)
        raise KilledError

    undisturbed = run(runs=tmp_path_factory.mktemp("whole"))
    names: list[str] = []
    with pytest.raises(KilledError):
        run(kill)
    resumed = run(resume=True)
    assert plain(resumed) == plain(undisturbed)
    assert seeds_by_row(resumed) == seeds_by_row(undisturbed)


def test_a_failed_run_gets_no_look_and_pairs_keep_their_order(run: Any) -> None:
    def fail(job: Job) -> JobResult:
        if job.name == "open" and job.recipe.seed == 1:
            return JobResult(failure=Failure("MemoryError", "no memory", "less"))
        return make_up(job)

    finished = run(fail)
    assert finished.n_failed == 1 and seeds_by_row(finished)["open"] == 7
    lines: list[str] = []
    second = run(log=lines.append)  # it would come after pairs that were looked at
    assert plain(second) == plain(finished) and " 0 runs to train" in lines[0]


def test_a_row_that_never_finishes_ends_after_the_first_look(run: Any) -> None:
    def fail(job: Job) -> JobResult:
        if job.name == "open":
            return JobResult(failure=Failure("DivergenceError", "NaN", "less"))
        return make_up(job)

    finished = run(fail)
    failed = [r for r in content_of(finished)["runs"] if r["state"] == "failed"]
    assert [r["seed"] for r in failed] == [0, 1, 2]
    assert finished.comparison.rows[3].verdict == "no run finished"
    assert finished.comparison.n_tests == 2


def test_other_seeds_are_another_study(run: Any) -> None:
    first, second = run(), run(first_seed=100)
    assert second.folder.path.name == "tests-race-seed-100"
    assert set(second.comparison.rows[0].values) == set(range(100, 108))
    assert first.folder.path != second.folder.path


def train_at_once(monkeypatch: pytest.MonkeyPatch, workers: int) -> list[list[Job]]:
    """Let a study's runs end in any order, so many at a time; return those at each moment."""
    moments: list[list[Job]] = []

    def run_experiment(record: Experiment, *_: Any) -> None:
        draw, running = Random(workers), list[Job]()
        while True:
            while len(running) < workers and (job := record.next_job()):
                running.append(job)
            if not running:
                return
            moments.append(running[:])
            job = running.pop(draw.randrange(len(running)))
            record.on_end(job, make_up(job))

    monkeypatch.setattr("cifarlab.experiments.placement.run_experiment", run_experiment)
    return moments


@pytest.mark.parametrize("workers", [2, 5, 8, 16])
def test_all_workers_have_work_and_the_looks_are_the_same(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int
) -> None:
    alone = run(runs=tmp_path / "alone")
    moments = train_at_once(monkeypatch, workers)
    together = run(runs=tmp_path / "together")
    assert plain(together) == plain(alone)
    n_runs = len({job.path for jobs in moments for job in jobs})
    n_used = sum(seeds_by_row(together).values())
    assert n_used <= n_runs < n_used + workers * 2
    n_idle = [workers - len(jobs) for jobs in moments]
    last_begin = max(n for n in range(1, len(moments)) if set(moments[n]) - set(moments[n - 1]))
    assert last_begin > 3 and not any(n_idle[:last_begin])
    assert all(Path(job.path).is_absolute() for job in moments[0])
    assert all(type(job.callback_config) is CallbacksConfig for job in moments[0])


def test_a_result_on_another_disk_is_a_failure_that_is_tried_again(run: Any) -> None:
    elsewhere = JobResult("planned", has_result=True)
    finished = run(lambda job: elsewhere if job.name == "open" else make_up(job))
    failures = [run["failure"]["what"] for run in content_of(finished)["runs"] if run["failure"]]
    assert finished.n_failed == len(failures) == 3 and "no result here" in failures[0]
    assert run().n_failed == 0


def test_a_study_that_was_killed_waits_for_its_look(run: Any, tmp_path: Path) -> None:
    killed: list[Job] = []

    def kill(job: Job) -> JobResult:
        killed.append(job)
        if len(killed) > 6:
            raise KilledError
        return make_up(job)

    fixed = Study(name="fixed", n_seeds=4, rows=STUDY.rows, first_seed=50)
    with pytest.raises(KilledError):
        run(kill, fixed)
    early = compare_runs([str(tmp_path / "studies" / "fixed")], runs=tmp_path)
    assert {row.verdict for row in early.rows[1:]} <= {
        "undecided",
        "one pair of runs: no test is possible",
    }
    assert "The first look is after 4 pairs" in " ".join(early.notes)
