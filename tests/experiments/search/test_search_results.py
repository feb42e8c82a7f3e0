"""The table, page and figures of a search, and the plain values in search.json."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_search import made, small

from cifarlab.evaluation.run_evaluation import evaluate_run
from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search import figures
from cifarlab.experiments.search.definition import Search
from cifarlab.experiments.search.engine import write_results
from cifarlab.experiments.search.figures import FIGURES, coordinates, curves, rungs
from cifarlab.experiments.search.finalists import (
    measure_selection_bias,
    retrain_finalists,
    select_finalists,
)
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.results import SearchResults, read_results
from cifarlab.experiments.search.table import (
    csv_text,
    describe_selection_bias,
    format_rows,
    markdown_page,
)
from cifarlab.metrics.kinds import ACCURACY
from cifarlab.plots.draw import draw_all
from cifarlab.plots.spec import Marks, Plot, Text
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.formatting import NOTHING


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> SearchResults:
    search, folder = made(tmp_path_factory.mktemp("made"))
    return read_results(search, 1.0, folder)


def test_the_best_is_first_and_failed_ones_last(results: SearchResults) -> None:
    scores = [row.score for row in results.rows]
    assert results.best_row is results.rows[0]
    finite_scores = [score for score in scores if score is not None]
    assert finite_scores == sorted(finite_scores, reverse=True) and scores[-1] is None
    assert results.rows[-1].number == 1
    assert [cells[0] for cells in format_rows(results)[1]] == [str(n) for n in range(1, 13)]


def test_a_row_says_its_epochs_and_the_training_accuracy_beside(results: SearchResults) -> None:
    best = results.rows[0]
    assert (best.best_epoch, best.epochs) == (9, 9)
    assert best.score is not None and best.train_accuracy == pytest.approx(best.score + 0.1)


def test_of_all_but_the_first_trial_only_the_metrics_log_is_read(tmp_path: Path) -> None:
    search, folder = made(tmp_path)
    table = csv_text(read_results(search, 1.0, folder))
    for number in range(1, 12):
        folder.trial(number).recipe_file.unlink(missing_ok=True)
        folder.trial(number).provenance_file.unlink(missing_ok=True)
    assert csv_text(read_results(search, 1.0, folder)) == table
    folder.trial(3).metrics.path.unlink()
    assert csv_text(read_results(search, 1.0, folder)) != table


def test_the_table_says_how_each_trial_ended(results: SearchResults) -> None:
    headers, cells = format_rows(results)
    assert headers[-3:] == ("optimizer.kind", "optimizer.lr", "optimizer.momentum")
    ends = {line[1]: line[6] for line in cells}
    assert ends["trial-001"] == "failed: NaN at step 3 | b"
    stopped = next(end for end in ends.values() if end.startswith("stopped"))
    assert "at rung 1" in stopped and "35.00 % needed" in stopped and "rank" in stopped
    assert "ran to its end" in ends.values()
    adam = next(line for line in cells if line[-3] == "adam")
    assert adam[-1] == NOTHING


def test_rungs_count_who_came_and_who_was_stopped(results: SearchResults) -> None:
    first, second = results.rungs
    assert (first.rung, second.rung) == (1, 3)
    assert first.n_reached == 11 and 0 < first.n_stopped < 11 and first.cutoff == 0.35
    assert second.n_reached == 0 and second.cutoff is None


def test_the_page_has_it_all_and_no_broken_row(results: SearchResults) -> None:
    text = markdown_page(results, None, [("figures/curves.svg", "curves")])
    assert text.startswith("# made\n") and "--n-seeds 3" in text
    assert "## Rungs" in text and "## What decides" in text
    assert "![curves](figures/curves.svg)" in text
    table = [line for line in text.splitlines() if line.startswith("| ") and "trial-" in line]
    assert len(table) == 12 and "step 3 \\| b" in text
    assert "test split was not opened" in text


def test_the_csv_has_every_number(results: SearchResults) -> None:
    read = list(csv.DictReader(io.StringIO(csv_text(results))))
    assert len(read) == 12 and float(read[0]["score"]) == results.rows[0].score
    assert read[-1]["stop_reason"] == "failed" and read[-1]["score"] == ""


def write_made(search: Search, folder: SearchFolder, formats: Sequence[str] = ("svg",)) -> None:
    results = read_results(search, 1.0, folder)
    write_results(results, None, search.base_recipe(), folder, formats)


def test_figures_are_four_and_the_same_each_time(results: SearchResults) -> None:
    first = draw_all(FIGURES, results)
    assert list(first) == ["curves", "rungs", "coordinates", "importance"]
    assert all(
        picture.svg.startswith(b"<?xml") and list(picture.files) == ["svg"]
        for picture in first.values()
    )
    second = draw_all(FIGURES, results, ["png"])
    assert [second[kind].svg for kind in second] == [first[kind].svg for kind in first]
    assert all(picture.files["png"][1:4] == b"PNG" for picture in second.values())


def marks(plot: Plot | None) -> list[Marks]:
    assert plot
    return [mark for mark in plot.panels[0].marks if isinstance(mark, Marks)]


def trial_lines(plot: Plot | None) -> list[Marks]:
    """The lines of parallel coordinates, the best first."""
    return [mark for mark in marks(plot) if len(mark.x) == 4]


def test_of_very_many_trials_the_best_and_some_of_the_others_are_drawn(
    results: SearchResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = rungs(results)
    monkeypatch.setattr(figures, "_LIMIT", 6)
    for make in (curves, coordinates):
        plot = make(results)
        assert plot and "6 of 11 trials, best and others" in plot.panels[0].title
    lines = trial_lines(plot)
    assert len(lines) == 6 and lines[0].width > 2 and lines[0].z > lines[1].z  # the best is there
    sampled = rungs(results)
    assert complete and sampled and "6 of 11 decisions" in sampled.panels[0].title
    drawn = [np.concatenate([mark.y for mark in marks(plot)[:2]]) for plot in (complete, sampled)]
    counts = [np.isfinite(scores).sum() for scores in drawn]
    assert counts == [11, 6] and "of" not in complete.panels[0].title


def test_no_line_hides_another_where_trials_made_the_same_choice(results: SearchResults) -> None:
    best_first = [row for row in results.rows if row.score is not None]
    heights_by_kind: dict[object, list[float]] = {"sgd": [], "adam": []}
    for line, row in zip(trial_lines(coordinates(results)), best_first, strict=True):
        heights_by_kind[row.params["optimizer.kind"]].append(line.y[0])
    for middle, heights in zip((0, 1), heights_by_kind.values(), strict=True):
        assert heights[::-1] == sorted(set(heights)) and len(heights) > 3
        assert max(abs(height - middle) for height in heights) < 0.1


def test_named_trials_of_one_score_have_different_marks_and_are_visible_on_white(
    results: SearchResults,
) -> None:
    labeled_marks = [mark for mark in marks(curves(results)) if ":" in mark.label]
    assert len({mark.marker for mark in labeled_marks}) == len(labeled_marks) == 5
    brightest = max(int(m.color[k : k + 2], 16) for m in marks(curves(results)) for k in (1, 3, 5))
    assert brightest < 0.85 * 255


def test_a_line_below_an_axis_says_why(results: SearchResults) -> None:
    plot = coordinates(results)
    assert plot
    texts = [mark for mark in plot.panels[0].marks if isinstance(mark, Text)]
    assert [round(mark.x) for mark in texts if mark.text == "not set"] == [2]


def test_a_search_without_rungs_or_scores_still_has_a_page(tmp_path: Path) -> None:
    search, folder = made(tmp_path, 2)
    assert set(draw_all(FIGURES, read_results(search, 1.0, folder))) == {"curves", "rungs"}
    without_rungs = read_results(small(scheduler={"kind": "none"}), 1.0, folder)
    assert "## Rungs" not in markdown_page(without_rungs, None, []) and not without_rungs.rungs


def test_all_files_are_written_and_search_json_has_the_results(tmp_path: Path) -> None:
    search, folder = made(tmp_path)
    write_made(search, folder, ["pdf"])
    for name in (
        "page.md",
        "table.csv",
        "best.yaml",
        "figures/curves.svg",
        "figures/importance.pdf",
    ):
        assert (folder.path / name).exists()
    content = json.loads(folder.file.read_text())["results"]
    assert len(content["table"]) == 12 and content["table"][0]["rungs"][0]["rung"] == 1
    assert content["importance"][0]["key"] == "optimizer.lr" and content["finalists"] is None


def test_finalists_are_the_best_that_ran_to_their_end(results: SearchResults) -> None:
    finalists = select_finalists(results)
    assert len(finalists) == 3 and list(finalists) == [r.number for r in results.rows[:3]]
    stopped = {r.number for r in results.rows if r.stop_reason == "stopped"}
    assert stopped and not stopped & set(finalists)


def test_finalists_are_measured_as_the_score_was(
    tmp_path: Path, tiny: Callable[..., Recipe]
) -> None:
    """Whatever the recipe says: the best epoch's validation accuracy, in one view."""
    search, folder = made(tmp_path, 1)
    views = {"evaluation.tta_views": 6, "evaluation.tta_fraction": 0.5}
    folder.trial(0).write_recipe(tiny({"training.duration": "2 epochs", "seed": 4, **views}))
    results = read_results(search, 1.0, folder)
    finalists = retrain_finalists(
        results, folder, 1, placement=Placement(jobs=1), log=lambda _: None
    )
    (run,) = (RunFolder(p.parent) for p in (folder.path / "studies").rglob("result.json"))
    curve = [line["val"]["accuracy"] for line in run.metrics.read()]
    assert finalists.selection_bias[0].mean == max(curve) and run.recipe().seed == 5
    result = run.result() or {}
    assert result["val"]["loss"] != evaluate_run(run, "val", 6)[0]["loss"]  # views would show


def test_a_trial_that_its_budget_ended_is_no_finalist(results: SearchResults) -> None:
    best = results.rows[0]
    timed_out = replace(best, stop_reason="max_time")
    patient = replace(results.rows[1], stop_reason="early_stopping")
    rows = (timed_out, patient, *results.rows[2:])
    finalists = select_finalists(results._replace(rows=rows))
    assert timed_out.number not in finalists and patient.number in finalists


def test_the_selection_bias_of_the_best() -> None:
    bias = measure_selection_bias(7, 0.90, [0.88, 0.89, 0.87])
    assert bias.mean == pytest.approx(0.88) and bias.excess == pytest.approx(0.02)
    low, high = bias.interval or (0, 0)
    assert low < 0.02 < high and high - low == pytest.approx(2 * 4.3027 * 0.01 / 3**0.5, rel=1e-4)
    words = describe_selection_bias(bias, ACCURACY)
    assert "90.00 % in the search, 88.00 % over 3 other seeds" in words and "+2.00 points" in words
    assert "one seed gives no interval" in describe_selection_bias(
        measure_selection_bias(7, 0.9, [0.88]), ACCURACY
    )
