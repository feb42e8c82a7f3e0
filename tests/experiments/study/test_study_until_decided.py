"""Studies that add seeds until their rows are decided, on runs that are made up, not trained."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_study import write_run

from cifarlab.data.opening import open_data
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import FinishedStudy, run_study
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.worker import Failure, Job, JobResult
from cifarlab.experiments.writing import as_json
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import UserError

LR = "optimizer.lr"
STUDY = Study(
    name="tests/race",
    until="decided",
    margin=0.2,
    most=8,
    rows=(
        StudyRow(name="base", recipe="quickstart"),
        StudyRow(name="good", recipe="quickstart", overrides={LR: 0.2}),
        StudyRow(name="same", recipe="quickstart", overrides={LR: 0.11}),
        StudyRow(name="open", recipe="quickstart", overrides={LR: 0.3}),
    ),
)
EFFECTS = {"base": 0.0, "good": 0.05, "same": 0.0, "open": 0.0015}
SPREADS = {"base": 0.0, "good": 0.004, "same": 0.0006, "open": 0.004}
Train = Callable[[Job], JobResult]


class KilledError(BaseException):
    """What a kill looks like from within: nothing handles it."""


def accuracy_of(row: str, seed: int) -> float:
    draw = np.random.default_rng([seed, len(row)])
    return 0.9 + 0.01 * np.sin(seed) + EFFECTS[row] + SPREADS[row] * draw.normal()


def make_up(job: Job) -> JobResult:
    """Finish a run at once, with an accuracy that follows from its row and seed."""
    images = open_data(job.recipe.data).dataset.fingerprint
    accuracy = accuracy_of(job.name, job.recipe.seed)
    write_run(RunFolder(job.path), job.recipe, accuracy, "digits", images)
    return JobResult("planned")


def no_figures(*_: Any) -> list[str]:
    return []


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FinishedStudy]:
    """Run the study in a folder with a function in place of the training."""

    def run_made(train: Train = make_up, study: Study = STUDY, **options: Any) -> FinishedStudy:
        monkeypatch.setattr("cifarlab.experiments.engine.train_job", lambda job, _: train(job))
        monkeypatch.setattr("cifarlab.experiments.study.engine.write_comparison", no_figures)
        return run_study(study, **{"runs": tmp_path, **options})

    return run_made


def content_of(finished: FinishedStudy) -> Any:
    return json.loads((finished.folder.path / "study.json").read_text())


def seeds_by_row(finished: FinishedStudy) -> dict[str, int]:
    return {row.name: len(row.values) for row in finished.comparison.rows}


def plain(finished: FinishedStudy) -> Any:
    return as_json(finished.comparison._replace(runs=()))


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
        "level": 0.05,
        "looks": [stage],
        "n_seen": 0,
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


@pytest.mark.parametrize(
    ("options", "reason", "hint"),
    [
        (
            {"most": 9},
            "the number of seeds per row was 8, now 9",
            "more seeds calls equal recipes different",
        ),
        ({"until": "seeds", "n_seeds": 8}, "until was decided, now seeds", "--first-seed 8"),
        ({"margin": 0.3}, "the margin was 0.2, now 0.3", "--first-seed 8"),
        ({"study": {"baseline": "good"}}, "the baseline was base, now good", "another name"),
        ({"study": {"metric": "log_loss"}}, "the metric was accuracy, now log_loss", "seeds"),
        ({"study": {"rows": STUDY.rows[:3]}}, "with the row open, too", "another name"),
        (
            {"study": {"rows": (*STUDY.rows, StudyRow(name="new", recipe="quickstart"))}},
            "without the row new",
            "p is corrected for the rows of the plan",
        ),
        (
            {
                "study": {
                    "rows": (
                        *STUDY.rows[:3],
                        StudyRow(name="open", recipe="quickstart", overrides={LR: 0.4}),
                    )
                }
            },
            "with another recipe in the row open",
            "another name",
        ),
    ],
)
def test_another_plan_after_results_is_refused_with_the_reason(
    run: Any, options: dict[str, Any], reason: str, hint: str
) -> None:
    finished = run()
    before = (finished.folder.path / "study.json").read_bytes()
    changes = options.pop("study", {})
    study = Study.model_validate(STUDY.model_dump() | changes)
    with pytest.raises(UserError) as caught:
        run(study=study, **options)
    assert f"has results and was planned otherwise: {reason}" in caught.value.what
    assert hint in caught.value.hint
    assert (finished.folder.path / "study.json").read_bytes() == before


def test_before_results_a_plan_may_change(run: Any) -> None:
    def kill(job: Job) -> JobResult:
        raise KilledError

    with pytest.raises(KilledError):
        run(kill)
    finished = run(most=3)
    assert content_of(finished)["plan"]["n_seeds"] == 3 == finished.comparison.plan.most


def test_other_seeds_are_another_study(run: Any) -> None:
    first, second = run(), run(first_seed=100)
    assert second.folder.path.name == "tests-race-seed-100"
    assert set(second.comparison.rows[0].values) == set(range(100, 108))
    assert first.folder.path != second.folder.path


def test_runs_that_were_seen_before_the_plan_make_all_looks_count(run: Any) -> None:
    """Five seeds that were looked at can't become a study of five planned seeds by a new name."""
    fixed = Study(name="first", n_seeds=5, rows=STUDY.rows)
    first = run(study=fixed)
    second = run(study=fixed.model_copy(update={"name": "second"}))
    assert content_of(first)["plan"]["n_seen"] == 0
    assert content_of(second)["plan"]["n_seen"] == 15
    assert any("15 pairs of runs were there before" in note for note in second.comparison.notes)
    for ours, theirs in zip(second.comparison.rows[1:], first.comparison.rows[1:], strict=True):
        assert ours.values == theirs.values and ours.p > theirs.p


def test_a_study_s_folder_is_compared_by_its_plan(run: Any, tmp_path: Path) -> None:
    finished = run()
    path = str(finished.folder.path)
    compared = compare_runs([path], runs=tmp_path)
    assert compared.rows == tuple(r._replace(columns=()) for r in finished.comparison.rows)
    assert (compared.plan, compared.margin) == (finished.comparison.plan, 0.002)
    by_loss = compare_runs([path], runs=tmp_path, metric="log_loss")
    assert by_loss.plan == compared.plan and by_loss.margin is None
    runs = sorted(str(p.parent) for p in finished.folder.path.glob("*/result.json"))
    assert len(compare_runs(runs, runs=tmp_path).plan.stages) == 3  # nobody planned these
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
