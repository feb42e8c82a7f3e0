"""Studies that add seeds until their rows are decided, on runs that are made up, not trained."""

import json
import shutil
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
from cifarlab.stats.sequential import Plan
from cifarlab.system.errors import RunFolderError, UserError

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
        ({"study": {"baseline": "good"}}, "the baseline was base, now good", "fresh seeds"),
        ({"study": {"metric": "log_loss"}}, "the metric was accuracy, now log_loss", "seeds"),
        ({"study": {"rows": STUDY.rows[:3]}}, "with the row open, too", "fresh seeds"),
        (
            {"study": {"rows": (*STUDY.rows, StudyRow(name="new", recipe="quickstart"))}},
            "without the row new",
            "fresh seeds",
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
            "fresh seeds",
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
    followed = follow(run, caught.value.hint, study, options)
    assert followed.comparison.rows[0].values.keys() == set(range(8, 8 + n_seeds(followed)))
    assert content_of(followed)["plan"]["n_seen"] == 0


def n_seeds(finished: FinishedStudy) -> int:
    return len(finished.comparison.rows[0].values)


def follow(run: Any, hint: str, study: Study, options: dict[str, Any]) -> FinishedStudy:
    """The study as an error's hint says: with the options that it names."""
    words = hint.partition(": ")[2].split()
    named = {o[2:].replace("-", "_"): v for o, v in zip(words[::2], words[1::2], strict=True)}
    if "until" in named:
        options = {name: value for name, value in options.items() if name != "n_seeds"}
    values = {name: int(v) if v.isdigit() else v for name, v in named.items()}
    finished: FinishedStudy = run(study=study, **options | values)
    return finished


def test_a_hint_leads_on_from_one_seed_and_from_its_own_study(run: Any) -> None:
    study = Study(name="trial", n_seeds=1, rows=STUDY.rows)
    run(study=study)
    with pytest.raises(UserError) as caught:
        run(study=study, n_seeds=2)
    second = follow(run, caught.value.hint, study, {"n_seeds": 2})
    assert second.comparison.plan.most == 10 and second.comparison.rows[1].verdict == "better"
    with pytest.raises(UserError) as caught:
        run(study=study, n_seeds=2)
    third = follow(run, caught.value.hint, study, {"n_seeds": 2})
    assert min(third.comparison.rows[0].values) == 11
    note = "Study 3 of this question (the same baseline, a row in common): at 5 % each, 14 % in all"
    assert any(text.startswith(note) for text in third.comparison.notes)
    assert not any("of this question" in text for text in run(study=study).comparison.notes)


def test_studies_of_other_recipes_are_other_questions(run: Any) -> None:
    run(study=Study(name="one", n_seeds=1, rows=STUDY.rows[:2]))
    other = run(study=Study(name="two", n_seeds=1, rows=(STUDY.rows[0], STUDY.rows[2])))
    assert content_of(other)["plan"]["number"] == 1


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
    assert any("15 runs of these rows and seeds" in note for note in second.comparison.notes)
    for ours, theirs in zip(second.comparison.rows[1:], first.comparison.rows[1:], strict=True):
        assert ours.values == theirs.values and ours.p > theirs.p


def test_the_best_row_of_another_study_stays_corrected_for_all_that_were_tried(run: Any) -> None:
    first = run(study=Study(name="first", n_seeds=5, rows=STUDY.rows))
    best = run(study=Study(name="best", n_seeds=5, rows=STUDY.rows[:2]))
    assert best.comparison.n_tests == first.comparison.n_tests == 3
    row = best.comparison.rows[1]
    assert row.p == pytest.approx(3 * row.pairs.p)
    assert any("corrected for all recipes" in n and "(3)" in n for n in best.comparison.notes)
    fresh = run(study=Study(name="best", n_seeds=5, rows=STUDY.rows[:2]), first_seed=5)
    assert (fresh.comparison.n_tests, content_of(fresh)["plan"]["n_recipes_seen"]) == (1, 0)


def test_a_row_is_seen_without_the_baseline_too(run: Any) -> None:
    """Whoever trains the baseline last may have chosen the row by its own accuracy."""
    rows = STUDY.rows
    run(study=Study(name="others", n_seeds=3, rows=rows[1:], baseline="good"))
    chosen = run(study=Study(name="chosen", n_seeds=3, rows=(rows[0], rows[3])))
    plan = content_of(chosen)["plan"]
    assert (plan["n_seen"], plan["n_recipes_seen"], chosen.comparison.n_tests) == (3, 3, 3)


def test_no_row_is_the_same_within_a_margin_that_was_named_after_the_runs(run: Any) -> None:
    rows = STUDY.rows
    before = run(study=Study(name="before", n_seeds=5, rows=rows, margin=60.0))
    assert before.comparison.rows[2].verdict == "the same within 60 points"
    after = run(study=Study(name="after", n_seeds=5, rows=rows, margin=60.0))
    assert not any("the same" in row.verdict for row in after.comparison.rows)
    assert any("margin, too, were named after them. No row" in n for n in after.comparison.notes)
    compared = compare_runs([str(after.folder.path)], runs=after.folder.path.parent, margin=60.0)
    assert [r.verdict for r in compared.rows] == [r.verdict for r in after.comparison.rows]
    assert set(compared.notes) >= {n for n in after.comparison.notes if "before the plan" in n}


def test_seeds_that_the_baseline_had_before_are_noted(run: Any) -> None:
    rows = STUDY.rows
    run(study=Study(name="old", n_seeds=6, rows=rows[:2]))
    new = Study(name="new", n_seeds=3, rows=(rows[0], rows[3]))
    chosen, usual = run(study=new, first_seed=1), run(study=new)
    note = "3 runs of the baseline were there before the plan was written: seeds from 1 on must"
    assert any(text.startswith(note) for text in chosen.comparison.notes)
    assert not any("runs of the baseline" in text for text in usual.comparison.notes)


def test_the_notes_of_the_plan_are_said_before_the_first_run(run: Any) -> None:
    run(study=Study(name="first", n_seeds=3, rows=STUDY.rows))
    lines: list[str] = []
    run(study=Study(name="more", n_seeds=5, rows=STUDY.rows), log=lines.append)
    (said,) = [n for n, line in enumerate(lines) if "Fresh seeds (--first-seed)" in line]
    assert said < next(n for n, line in enumerate(lines) if line.startswith("1/"))


def test_a_plan_binds_once_a_run_shows_an_epoch(run: Any) -> None:
    """Who sees the validation accuracy of each epoch has seen results."""

    def kill(job: Job) -> JobResult:
        RunFolder(job.path).write_recipe(job.recipe)
        Path(job.path, "metrics.jsonl").write_text('{"epoch": 1, "val": {"accuracy": 0.9}}\n')
        raise KilledError

    with pytest.raises(KilledError):
        run(kill)
    with pytest.raises(UserError, match=r"the margin was 0\.2, now 0\.3"):
        run(margin=0.3, resume=True)
    assert content_of(run(resume=True))["plan"]["margin"] == 0.2


def test_a_study_s_folder_is_compared_by_its_plan(run: Any, tmp_path: Path) -> None:
    finished = run()
    path = str(finished.folder.path)
    compared = compare_runs([path], runs=tmp_path)
    assert compared.rows == tuple(r._replace(columns=()) for r in finished.comparison.rows)
    assert (compared.plan, compared.margin) == (finished.comparison.plan, 0.002)
    assert compared.margin_rows == finished.comparison.margin_rows != ()
    as_planned = compare_runs([path], "base", tmp_path, margin=0.2)
    assert as_planned._replace(runs=()) == compared._replace(runs=())
    assert not any("named after the runs" in note for note in as_planned.notes)


@pytest.mark.parametrize(
    ("options", "words", "n_tests"),
    [
        ({"against": "good"}, "base as the baseline", 6),
        ({"metric": "log_loss"}, "accuracy as the metric", 3),
        ({"margin": 60.0}, "0.2 as the margin", 3),
        ({"margin": 60.0, "against": "good"}, "base as the baseline, 0.2 as the margin", 6),
    ],
)
def test_what_was_not_planned_explores(
    run: Any, tmp_path: Path, options: dict[str, Any], words: str, n_tests: int
) -> None:
    compared = compare_runs([str(run().folder.path)], runs=tmp_path, **options)
    assert compared.plan == Plan.open() and compared.n_tests == n_tests
    (note,) = [n for n in compared.notes if n.startswith("The study was planned with")]
    assert f"planned with {words}: what was chosen after the runs explores" in note


def test_runs_of_a_study_that_are_named_one_by_one_are_said_to_be(run: Any, tmp_path: Path) -> None:
    finished = run()
    runs = sorted(str(p.parent) for p in finished.folder.path.glob("*/result.json"))
    compared = compare_runs(runs, runs=tmp_path)
    assert compared.plan == Plan.open()
    (note,) = [n for n in compared.notes if "Runs of a study with a plan" in n]
    assert str(finished.folder.path) in note


def test_a_run_that_is_gone_is_named_and_trained_anew(run: Any, tmp_path: Path) -> None:
    finished = run()
    lost = finished.folder.path / content_of(finished)["runs"][1]["run"]
    shutil.rmtree(lost)
    with pytest.raises(RunFolderError) as caught:
        compare_runs([str(finished.folder.path)], runs=tmp_path)
    assert f"lists {lost.name}, which is gone" in caught.value.what
    assert "run the study again" in caught.value.hint
    assert plain(run()) == plain(finished)


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
