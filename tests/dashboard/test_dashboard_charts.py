"""Charts and HTML pieces: pure functions of what a report knows of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from made_run import Plan, digits, hundred, make

from cifarlab.dashboard.charts import chart_options
from cifarlab.dashboard.urls import folder_url, page_url, run_link
from cifarlab.evaluation.by_image import ImageComparison, compare_images
from cifarlab.metrics.kinds import Accuracy
from cifarlab.plots.flips import MOST_CLASSES, flips, intervals
from cifarlab.plots.images import Item
from cifarlab.plots.run import (
    confusion,
    confusion_counts,
    curves,
    overlay,
    per_class_rows,
    ranked_classes,
)
from cifarlab.plots.spec import label
from cifarlab.report.by_image import class_table, sentences
from cifarlab.report.html import parts
from cifarlab.report.tables import Table
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.stats import sequential
from cifarlab.system import formatting

HOSTILE = "<img src=x onerror=alert(1)>"


def read(tmp_path: Path, *plans: Plan) -> list[RunData]:
    return read_runs([make(tmp_path / f"run{n}", plan) for n, plan in enumerate(plans)])


def series(options: dict, name: str) -> list[list]:
    return [series["data"] for series in options["series"] if series["name"].startswith(name)]


def test_curves_are_the_metrics_logs(tmp_path):
    (run,) = read(tmp_path, Plan(n=100))
    chart = chart_options(curves(run), 600)
    accuracy, loss = series(chart, "validation")
    assert accuracy == [[x["epoch"], round(100 * x["val"]["accuracy"], 6)] for x in run.lines]
    assert loss == [[x["epoch"], round(x["val"]["loss"], 6)] for x in run.lines]
    assert series(chart, "learning rate")[0][-1][0] == 8
    epoch, best = run.best
    assert series(chart, "best") == [[[epoch, round(100 * best, 6)]]]
    assert series(chart, "test")[0][0][1] == round(100 * run.result["test"]["accuracy"], 6)


@pytest.mark.parametrize("plan", [Plan(n=100, val=False), Plan(n=100, finished=False, epochs=2)])
def test_curves_keep_their_series_whatever_is_missing(tmp_path, plan):
    runs = read(tmp_path, Plan(n=100), plan)
    charts = [chart_options(curves(run), 600) for run in runs]
    complete, partial = ([series["type"] for series in chart["series"]] for chart in charts)
    assert complete == partial
    json.dumps(charts[1], allow_nan=False)


def compare_pair(runs: list[RunData]) -> ImageComparison:
    """The second run against the first."""
    pairs, plan = [(runs[1], runs[0])], sequential.Plan.open()
    return compare_images("slow", "fast", pairs, "test", Accuracy(), plan)


def test_flips_lie_left_and_right_of_zero(tmp_path):
    slow = (("optimizer.lr", 0.01),)
    runs = read(tmp_path, Plan(n=400, skill=4.5), Plan(n=400, skill=3.0, changes=slow))
    images = compare_pair(runs)
    chart = chart_options(flips([images]), 600)
    gained, lost = (each["data"] for each in chart["series"] if each["type"] == "bar")
    classes = chart["yAxis"][0]["data"]
    by_name = {row.name: row for row in images.flips.classes}
    assert gained == [[by_name[name].n_gained, y] for y, name in enumerate(classes)]
    assert lost == [[-by_name[name].n_lost, y] for y, name in enumerate(classes)]
    dots = [point for each in series(chart, "gained less") for point in each]
    net = {name: row.n_gained - row.n_lost for name, row in by_name.items()}
    assert sorted(dots, key=lambda point: point[1]) == [[net[n], y] for y, n in enumerate(classes)]
    assert [net[name] for name in classes] == sorted(net.values(), reverse=True)
    assert flips([]) is intervals([]) is None


def test_of_many_classes_those_with_the_most_flips_are_drawn(tmp_path):
    slow = (("optimizer.lr", 0.01),)
    runs = read(tmp_path, hundred(skill=4.5), hundred(skill=3.0, changes=slow))
    images = compare_pair(runs)
    (panel,) = flips([images]).panels
    assert len(panel.y.names) == MOST_CLASSES
    n_flips = sorted((row.n_gained + row.n_lost for row in images.flips.classes), reverse=True)
    bars = panel.marks[:2]
    drawn = np.abs(bars[0].lengths) + np.abs(bars[1].lengths)
    assert sorted(drawn, reverse=True) == n_flips[:MOST_CLASSES]
    assert len(class_table(images)[1]) == 20 and "20 classes with the least p of 100" in " ".join(
        sentences(images)
    )


def test_a_run_without_an_epoch_is_an_empty_chart(tmp_path):
    (run,) = read(tmp_path, Plan(n=100, finished=False, epochs=0))
    assert curves(run) is None and chart_options(None, 600)["series"] == []


def test_overlaid_seeds_have_one_color_and_recipes_differ(tmp_path):
    other = (("optimizer.lr", 0.01),)
    runs = read(tmp_path, Plan(n=100), Plan(n=100, seed=1), Plan(n=100, changes=other))
    colors = [series["color"] for series in chart_options(overlay(runs), 400)["series"]]
    assert colors[0] == colors[1] != colors[2]
    assert overlay(read(tmp_path, Plan(n=100, val=False))[:0]) is None


@pytest.mark.parametrize("plan", [Plan(n=500), hundred(n=1000), digits(n=200)])
def test_the_confusion_chart_holds_every_count(tmp_path, plan):
    (run,) = read(tmp_path, plan)
    counts = confusion_counts(run)
    fractions = counts / counts.sum(1, keepdims=True)
    percents = np.zeros_like(fractions)
    for series in chart_options(confusion(run), 440)["series"]:
        for cell in series["data"]:
            column, row, _, percent = cell["value"]
            percents[row, column] = percent
    assert np.abs(percents - 100 * fractions).max() <= 0.05 + 1e-9


def test_the_confusion_chart_of_a_thousand_classes_stays_small(tmp_path):
    names = tuple(f"class {n}" for n in range(1000))
    (run,) = read(tmp_path, Plan(classes=names, n=5000, skill=2.0))
    chart = chart_options(confusion(run), 600)
    assert len(json.dumps(chart)) < 300_000 and len(chart["yAxis"][0]["data"]) == 30
    counts = confusion_counts(run)
    row, column = np.unravel_index((counts - np.diag(np.diag(counts))).argmax(), counts.shape)
    tooltips = [cell["name"] for cell in chart["series"][0]["data"]]
    words = f"{names[row]} taken for {names[column]}<br>{counts[row, column]} of 5"
    assert any(name.startswith(words) for name in tooltips)


def test_no_class_name_becomes_markup(tmp_path):
    (run,) = read(tmp_path, Plan(classes=(HOSTILE, "b"), n=60, skill=0.5))
    chart = chart_options(confusion(run), 440)
    tooltips = [c["name"] for series in chart["series"] for c in series["data"]]
    images = [np.zeros((8, 8, 1), np.uint8)]
    fragments = [
        parts().bars(ranked_classes(per_class_rows(run))),
        parts().table(Table((HOSTILE,), [(HOSTILE,)])),
        parts().gallery([Item(images, HOSTILE, [f"cat/{HOSTILE}.png"])]),
        parts().warnings([HOSTILE]),
        parts().notes([HOSTILE]),
        parts().differences([run.recipe], [run_link(HOSTILE, HOSTILE)]),
        parts().comparison([run], [run_link(HOSTILE, HOSTILE)]),
        parts().table(Table(("run",), [(run_link(HOSTILE, HOSTILE),)])),
        *tooltips,
    ]
    assert len(tooltips) > 2
    assert not [fragment for fragment in fragments if "<img src=x" in fragment]
    unmarked = [*tooltips, fragments[5]]  # one run differs from nothing
    assert all("&lt;img" in fragment for fragment in fragments if fragment not in unmarked)


def test_numbers_stand_on_the_right_and_words_do_not():
    text = parts().table(Table(("row", "mean"), [("a", "90.10"), ("b", "8.00")]))
    assert '<td>a</td><td class="number">90.10</td>' in text
    assert '<th>row</th><th class="number">mean</th>' in text
    times = [[formatting.seconds(t)] for t in (0.02, 3.0, 125, 7000, None)]
    assert parts().table(Table(("time",), times)).count('<td class="number">') == 5
    assert 'class="number"' not in parts().table(Table(("size",), [["3 shirts"]]))


def test_a_bar_is_as_long_as_its_fraction_and_the_best_comes_first():
    rows = [
        {"class": "low", "accuracy": 0.25, "interval": [0.2, 0.3]},
        {"class": "high", "accuracy": 0.5, "interval": None},
        {"class": "none", "accuracy": None},
    ]
    text = parts().bars(ranked_classes(rows))
    assert text.index("high") < text.index("low") and "none" not in text
    assert "width:25.00%" in text and "left:20.00%;width:10.00%" in text


def test_addresses_survive_any_name():
    assert folder_url("run", "a/b c%") == "/run/a/b%20c%25"
    assert page_url("/compare", runs=["a&b", "c"]) == "/compare?runs=a%26b&runs=c"
    assert page_url("/try", run="a b") == "/try?run=a+b" and page_url("/try", run=None) == "/try"
    assert page_url("/", group_by="") == "/" and page_url("/", search="x y") == "/?search=x+y"


def test_in_a_figure_the_end_of_a_path_is_kept():
    assert label("train/cat/0001.png", 12, end=True) == "…at/0001.png"
    assert label("train/cat/0001.png", 12) == "train/cat/0…"
    assert label("cat/1.png", 12, end=True) == "cat/1.png"
