"""What a search shows: its table, page, figures, and the plain values in search.json."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from made_search import made, small
from matplotlib import colors

from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.experiments.search import figures
from cifarlab.experiments.search.figures import coordinates, curves, pictures, rungs
from cifarlab.experiments.search.finalists import finalists, flattered, rerun
from cifarlab.experiments.search.results import Explained, explain, write_explained
from cifarlab.experiments.search.table import csv_text, flattery_words, page, rows
from cifarlab.recipes.schema import Recipe
from cifarlab.runs.folder import RunFolder


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Explained:
    search, folder = made(tmp_path_factory.mktemp("made"))
    return explain(search, 1.0, folder)


def test_the_best_is_first_and_failed_ones_last(explained: Explained) -> None:
    scores = [row.score for row in explained.rows]
    assert explained.best is explained.rows[0]
    known = [score for score in scores if score is not None]
    assert known == sorted(known, reverse=True) and scores[-1] is None
    assert explained.rows[-1].trial.number == 1
    assert [row.rank for row in explained.rows] == list(range(1, 13))


def test_a_row_says_its_epochs_and_the_training_accuracy_beside(explained: Explained) -> None:
    best = explained.rows[0]
    assert (best.best, best.epochs) == (9, 9)
    assert best.score is not None and best.train == pytest.approx(best.score + 0.1)


def test_the_table_says_why_each_trial_ended(explained: Explained) -> None:
    headers, cells = rows(explained)
    assert headers[-3:] == ("optimizer.kind", "optimizer.rate", "optimizer.momentum")
    ends = {line[1]: line[6] for line in cells}
    assert ends["trial-001"] == "failed: NaN at step 3 | b"
    stopped = next(end for end in ends.values() if end.startswith("stopped"))
    assert "at rung 1" in stopped and "35.00 % needed" in stopped and "rank" in stopped
    assert "ran to its end" in ends.values()
    adam = next(line for line in cells if line[-3] == "adam")
    assert adam[-1] == "-"


def test_rungs_count_who_came_and_who_was_stopped(explained: Explained) -> None:
    first, second = explained.rungs
    assert (first.rung, second.rung) == (1, 3)
    assert first.came == 11 and 0 < first.stopped < 11 and first.cutoff == 0.35
    assert second.came == 0 and second.cutoff is None


def test_the_page_has_it_all_and_no_broken_row(explained: Explained) -> None:
    text = page(explained, None, [("figures/curves.svg", "curves")])
    assert text.startswith("# made\n") and "--seeds 3" in text
    assert "## Rungs" in text and "## What decides" in text
    assert "![curves](figures/curves.svg)" in text
    table = [line for line in text.splitlines() if line.startswith("| ") and "trial-" in line]
    assert len(table) == 12 and "step 3 \\| b" in text
    assert "test split was not opened" in text


def test_the_csv_has_every_number(explained: Explained) -> None:
    read = list(csv.DictReader(io.StringIO(csv_text(explained))))
    assert len(read) == 12 and float(read[0]["score"]) == explained.rows[0].score
    assert read[-1]["why"] == "failed" and read[-1]["score"] == ""


def test_figures_are_four_and_the_same_each_time(explained: Explained) -> None:
    made_of = pictures(explained)
    assert [one.slug for one in made_of] == ["curves", "rungs", "coordinates", "importance"]
    assert all(one.svg.startswith(b"<?xml") and one.files["png"][1:4] == b"PNG" for one in made_of)
    assert [one.svg for one in pictures(explained)] == [one.svg for one in made_of]


def test_of_very_many_trials_the_best_and_some_of_the_others_are_drawn(
    explained: Explained, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rungs(explained)
    monkeypatch.setattr(figures, "_DRAWN", 6)
    for draw in (curves, coordinates):
        figure = draw(explained)
        assert figure and "6 of 11 trials, best and others" in figure.axes[0].get_title("left")
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    assert len(lines) == 6 and max(line.get_linewidth() for line in lines) > 2  # the best is there
    few = rungs(explained)
    assert whole and few and "6 of 11 decisions" in few.axes[0].get_title("left")
    marks = [sum(len(line.get_xdata()) for line in f.axes[0].lines[:2]) for f in (whole, few)]
    assert marks == [11, 6] and "of" not in whole.axes[0].get_title("left")


def test_no_line_hides_another_where_trials_made_the_same_choice(explained: Explained) -> None:
    figure = coordinates(explained)
    assert figure
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 4]
    best_last = [row for row in explained.rows if row.score is not None][::-1]
    at = {"sgd": [], "adam": []}
    for line, row in zip(lines, best_last, strict=True):
        at[row.trial.values["optimizer.kind"]].append(line.get_ydata()[0])
    for middle, heights in zip((0, 1), at.values(), strict=True):
        assert heights == sorted(set(heights)) and len(heights) > 3
        assert max(abs(height - middle) for height in heights) < 0.1


def test_named_trials_of_one_score_are_told_apart_and_seen_on_white(explained: Explained) -> None:
    figure = curves(explained)
    assert figure
    named = [line for line in figure.axes[0].lines if ":" in str(line.get_label())]
    assert len({line.get_marker() for line in named}) == len(named) == 5
    assert all(max(colors.to_rgb(line.get_color())) < 0.85 for line in figure.axes[0].lines)


def test_a_line_below_an_axis_says_why(explained: Explained) -> None:
    figure = coordinates(explained)
    assert figure
    there = [(round(text.get_position()[0]), text.get_text()) for text in figure.axes[0].texts]
    assert [place for place, text in there if text == "not set"] == [2]


def test_a_search_without_rungs_or_scores_still_has_a_page(tmp_path: Path) -> None:
    search, folder = made(tmp_path, 2)
    assert {one.slug for one in pictures(explain(search, 1.0, folder))} == {"curves", "rungs"}
    plain = explain(small(scheduler={"kind": "none"}), 1.0, folder)
    assert "## Rungs" not in page(plain, None, []) and not plain.rungs


def test_everything_is_written_and_search_json_says_it_too(tmp_path: Path) -> None:
    search, folder = made(tmp_path)
    assert write_explained(explain(search, 1.0, folder), None, folder) == []
    for name in ("page.md", "table.csv", "figures/curves.svg", "figures/importance.png"):
        assert (folder.path / name).exists()
    found = json.loads(folder.file.read_text())["found"]
    assert len(found["table"]) == 12 and found["table"][0]["rungs"][0]["rung"] == 1
    assert found["importance"][0]["key"] == "optimizer.rate" and found["finals"] is None


def test_without_the_report_extra_the_rest_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    search, folder = made(tmp_path)
    (problem,) = write_explained(explain(search, 1.0, folder), None, folder)
    assert "no figures" in problem and "cifarlab[report]" in problem
    assert (folder.path / "page.md").exists()


def test_finalists_are_the_best_that_ran_to_their_end(explained: Explained) -> None:
    chosen = finalists(explained)
    assert len(chosen) == 3 and list(chosen) == [r.trial.number for r in explained.rows[:3]]
    stopped = {r.trial.number for r in explained.rows if r.trial.why == "stopped"}
    assert stopped and not stopped & set(chosen)


def test_finalists_are_measured_as_the_score_was(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    """Whatever the recipe says: the best epoch's validation accuracy, in one view."""
    search, folder = made(tmp_path, 1)
    views = {"evaluation.views": 6, "evaluation.unsure": 0.5}
    folder.trial(0).write_recipe(tiny({"training.duration": "2 epochs", "seed": 4, **views}))
    of = explain(search, 1.0, folder)
    finals = rerun(search, of, folder, 1, 1, "cifarlab search made", lambda _: None)
    (run,) = (RunFolder(p.parent) for p in (folder.path / "studies").rglob("result.json"))
    curve = [line["val"]["accuracy"] for line in run.metrics.read()]
    assert finals.flattery[0].mean == max(curve) and run.recipe().seed == 5
    result = run.result() or {}
    assert result["val"]["loss"] != evaluate_run(run, "val", 6)[0]["loss"]  # views would show


def test_a_trial_that_its_budget_ended_is_no_finalist(explained: Explained) -> None:
    best = explained.rows[0]
    early = best._replace(trial=replace(best.trial, why="budget"))
    patient = explained.rows[1]._replace(trial=replace(explained.rows[1].trial, why="patience"))
    rows = (early, patient, *explained.rows[2:])
    chosen = finalists(explained._replace(rows=rows))
    assert early.trial.number not in chosen and patient.trial.number in chosen


def test_how_far_the_best_was_flattered() -> None:
    one = flattered(7, 0.90, [0.88, 0.89, 0.87])
    assert one.mean == pytest.approx(0.88) and one.excess == pytest.approx(0.02)
    low, high = one.interval or (0, 0)
    assert low < 0.02 < high and high - low == pytest.approx(2 * 4.3027 * 0.01 / 3**0.5, rel=1e-4)
    words = flattery_words(one)
    assert "90.00 % in the search, 88.00 % over 3 other seeds" in words and "+2.00 points" in words
    assert "one seed gives no interval" in flattery_words(flattered(7, 0.9, [0.88]))
