"""A study's plan: what is refused after results, what counts before, what compare keeps of it."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from made_plan import LR, STUDY, KilledError, content_of, plain

from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.experiments.study.engine import FinishedStudy
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.worker import Job, JobResult
from cifarlab.run_folder.folder import RunFolder
from cifarlab.stats.sequential import Plan
from cifarlab.system.errors import RunFolderError, UserError


@pytest.mark.parametrize(
    ("options", "reason", "hint"),
    [
        (
            {"most": 9},
            "the number of seeds per row was 8, now 9",
            "more seeds calls equal recipes different",
        ),
        ({"until": "seeds", "n_seeds": 8}, "until was decided, now seeds", "--first-seed 8"),
        ({"margin": 0.3}, "margin was 0.2, now 0.3", "--first-seed 8"),
        ({"study": {"baseline": "good"}}, "baseline was base, now good", "fresh seeds"),
        ({"study": {"metric": "log_loss"}}, "metric was accuracy, now log_loss", "seeds"),
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


def test_the_best_row_of_another_study_stays_corrected_for_all_of_it(run: Any) -> None:
    first = run(study=Study(name="first", n_seeds=5, rows=STUDY.rows))
    best = run(study=Study(name="best", n_seeds=5, rows=STUDY.rows[:2]))
    assert best.comparison.n_tests == first.comparison.n_tests == 3
    row = best.comparison.rows[1]
    assert row.p == pytest.approx(3 * row.pairs.p)
    assert any("corrected for all recipes" in n and "(3)" in n for n in best.comparison.notes)
    second = run(study=Study(name="best", n_seeds=5, rows=STUDY.rows[:2]), first_seed=5)
    assert (second.comparison.n_tests, content_of(second)["plan"]["n_recipes_seen"]) == (1, 0)


def test_a_row_is_seen_without_the_baseline_too(run: Any) -> None:
    """Whoever trains the baseline last may have chosen the row by its own accuracy."""
    rows = STUDY.rows
    run(study=Study(name="others", n_seeds=3, rows=rows[1:], baseline="good"))
    last = run(study=Study(name="last", n_seeds=3, rows=(rows[0], rows[3])))
    plan = content_of(last)["plan"]
    assert (plan["n_seen"], plan["n_recipes_seen"], last.comparison.n_tests) == (3, 3, 3)


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
    later, usual = run(study=new, first_seed=1), run(study=new)
    note = "3 runs of the baseline were there before the plan was written: seeds from 1 on must"
    assert any(text.startswith(note) for text in later.comparison.notes)
    assert not any("runs of the baseline" in text for text in usual.comparison.notes)


def test_the_notes_of_the_plan_come_before_the_first_run(run: Any) -> None:
    run(study=Study(name="first", n_seeds=3, rows=STUDY.rows))
    lines: list[str] = []
    run(study=Study(name="more", n_seeds=5, rows=STUDY.rows), log=lines.append)
    (position,) = [n for n, line in enumerate(lines) if "Fresh seeds (--first-seed)" in line]
    assert position < next(n for n, line in enumerate(lines) if line.startswith("1/"))


def test_a_plan_binds_once_a_run_shows_an_epoch(run: Any) -> None:
    """Who sees the validation accuracy of each epoch has seen results."""

    def kill(job: Job) -> JobResult:
        RunFolder(job.path).write_recipe(job.recipe)
        Path(job.path, "metrics.jsonl").write_text('{"epoch": 1, "val": {"accuracy": 0.9}}\n')
        raise KilledError

    with pytest.raises(KilledError):
        run(kill)
    with pytest.raises(UserError, match=r"margin was 0\.2, now 0\.3"):
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


def test_a_note_stands_by_runs_of_a_study_one_by_one(run: Any, tmp_path: Path) -> None:
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
