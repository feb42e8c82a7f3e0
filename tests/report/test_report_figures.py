"""The figures: there, not blank, the same each time, and true to the numbers."""

import subprocess
import sys
import tracemalloc
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from made_run import Plan, digits, hundred, make
from matplotlib.collections import PathCollection
from PIL import Image

from cifarlab.plots import images
from cifarlab.plots import run as figures
from cifarlab.plots.draw import draw
from cifarlab.plots.spec import Marks
from cifarlab.plots.style import figure_style, render
from cifarlab.report.html import render_report
from cifarlab.report.write import write_report
from cifarlab.run_folder.run_data import read_runs
from cifarlab.system.errors import UserError

KINDS = ("classes", "confusion", "curves", "mistakes")


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    made = tmp_path_factory.mktemp("runs")
    plans = {"plain": Plan(), "grey": digits(skill=3.0), "hundred": hundred()}
    paths = [make(made / name, plan) for name, plan in plans.items()]
    return {run.name: run for run in read_runs(paths)}


@pytest.mark.parametrize("name", ["grey", "hundred"])
def test_every_figure_is_drawn_in_every_format_that_is_named(read, name, tmp_path):
    out = write_report([read[name].path], tmp_path / "page.html", ["png", "pdf"])
    for kind in KINDS:
        stem = tmp_path / "figures" / f"{name}-{kind}"
        assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        pixels = np.array(Image.open(stem.with_suffix(".png")).convert("L"))
        assert pixels.std() > 5 and pixels.shape[1] >= 200 * 4
        assert ET.fromstring(stem.with_suffix(".svg").read_bytes()).tag.endswith("svg")
    assert out == tmp_path / "page.html"
    assert not list(tmp_path.rglob("*.part"))


def test_figures_are_svg_where_nothing_else_is_named(read, tmp_path):
    write_report([read["grey"].path], tmp_path / "page.html")
    assert {file.suffix for file in (tmp_path / "figures").iterdir()} == {".svg"}


def test_other_formats_stay_as_long_as_they_show_the_same(tmp_path):
    run = make(tmp_path / "run", digits(finished=False, epochs=4))
    curves = run / "report" / "figures" / "run-curves.pdf"
    write_report([run], formats=["pdf"])
    write_report([run])
    assert curves.exists()
    with (run / "metrics.jsonl").open("a") as metrics:
        metrics.write((run / "metrics.jsonl").read_text().splitlines()[-1] + "\n")
    write_report([run])
    assert not curves.exists() and curves.with_suffix(".svg").exists()


def test_an_unknown_format_is_refused_before_anything_is_written(read, tmp_path):
    with pytest.raises(UserError, match="'jpg'") as caught:
        write_report([read["grey"].path], tmp_path / "page.html", ["svg", "jpg"])
    assert "svg, png, pdf" in caught.value.hint and not list(tmp_path.iterdir())


def test_same_run_same_bytes(read):
    first, second = (render_report([read["grey"]]) for _ in range(2))
    assert first == second


def test_users_matplotlib_settings_change_nothing(read):
    import matplotlib

    with figure_style():
        usual = render(draw(figures.curves(read["plain"])), "x", "").svg
    with matplotlib.rc_context({"font.size": 22, "axes.facecolor": "red"}):
        with figure_style():
            assert render(draw(figures.curves(read["plain"])), "x", "").svg == usual
        assert matplotlib.rcParams["font.size"] == 22


def test_imports_are_late_and_light():
    code = (
        "import sys, cifarlab.report.write; "
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules); "
        "import cifarlab.report.html; assert not {'matplotlib.pyplot', 'torch'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_curves_show_the_metrics_log_the_test_and_the_best_epoch(read):
    run = read["plain"]
    accuracy, loss, lr = (
        [mark for mark in panel.marks if isinstance(mark, Marks)]
        for panel in figures.curves(run).panels
    )
    train, val, best_mark, test_mark = accuracy
    assert np.allclose(train.y, 100 * run.curve("train", "accuracy"))
    assert np.allclose(val.y, 100 * run.curve("val", "accuracy"))
    assert np.allclose(loss[0].y, run.curve("train", "loss"))
    assert np.allclose(lr[0].y, run.curve("lr"))
    epoch, best = run.best
    assert best_mark.label == f"best validation: {100 * best:.2f}\u00a0%, epoch {epoch}"
    test = run.result["test"]
    assert test_mark.label == f"test: {100 * test['accuracy']:.2f}\u00a0%, epoch 8"
    assert np.allclose(test_mark.ends[:, 0], 100 * np.array(test["interval"]))


def test_what_is_drawn_is_what_the_plot_says(read):
    plot = figures.curves(read["plain"])
    for axes, panel in zip(draw(plot).axes, plot.panels, strict=True):
        marks = [mark for mark in panel.marks if isinstance(mark, Marks)]
        drawn = [bars.lines[0] for bars in axes.containers]
        assert [line.get_ydata().tolist() for line in drawn] == [list(m.y) for m in marks]
        assert [line.get_color() for line in drawn] == [mark.color for mark in marks]
    legend = [text.get_text() for text in draw(plot).axes[0].get_legend().get_texts()]
    labels = [m.label for m in plot.panels[0].marks if isinstance(m, Marks)]
    assert sorted(legend) == sorted(labels)


def test_small_matrix_has_numbers_large_has_few_labels(read):
    small = figures.confusion(read["plain"]).panels[0]
    counts = np.array(read["plain"].result["test"]["confusion_matrix"])
    texts = [text for mark in small.marks[:2] for text in mark.texts.flat if text]
    assert len(texts) == (counts > 0).sum()
    assert small.marks[1].texts[0, 0] in (f"{100 * counts[0, 0] / counts[0].sum():.1f}", "100")
    large = draw(figures.confusion(read["hundred"])).axes[0]
    assert len(draw(figures.confusion(read["plain"])).axes[0].get_yticklabels()) == 10
    assert not large.texts and len(large.get_yticklabels()) <= 20


def test_off_diagonal_colors_depend_on_the_errors_alone(read):
    mark = figures.confusion(read["plain"]).panels[0].marks[0]
    image = draw(figures.confusion(read["plain"])).axes[0].images[0]
    counts = np.array(read["plain"].result["test"]["confusion_matrix"])
    cells = image.to_rgba(image.get_array(), bytes=True)[48::96, 48::96].astype(int)
    errors = counts / counts.sum(1, keepdims=True) * (1 - np.eye(10))
    assert np.all(cells[errors == 0][:, 3] == 0)
    assert np.allclose(np.nan_to_num(mark.values), 100 * errors)
    darkest = np.unravel_index(
        np.where(cells[..., 3] > 0, cells[..., :3].sum(-1), 999).argmin(), errors.shape
    )
    assert errors[darkest] == errors.max()


def test_class_chart_is_sorted_with_intervals(read):
    (panel,) = figures.per_class(read["plain"]).panels
    rows = {row["class"]: row for row in read["plain"].result["test"]["per_class"]}
    _, dots = panel.marks
    values = [100 * rows[name]["accuracy"] for name in panel.y.names]
    assert values == sorted(values, reverse=True) and len(panel.y.names) == 10
    assert np.allclose(dots.x, values)
    ends = [100 * np.array(rows[name]["interval"]) for name in panel.y.names]
    assert np.allclose(dots.ends.T, ends)


def find_cut_labels(figure):
    """Markers of lines and scatters that the edge of their axes cuts, as (x, y)."""
    figure.canvas.draw()
    outside_points = []
    for axes in figure.axes:
        box, scale = axes.get_window_extent(), figure.dpi / 72 / 2
        marked = [
            (line.get_xydata(), line.get_markersize())
            for line in axes.lines
            if line.get_marker() in ("o", "s", "D")
        ]
        marked += [(dots.get_offsets(), 3) for dots in axes.findobj(PathCollection)]
        for points, size in marked:
            at, reach = axes.transData.transform(points), size * scale
            outside = (at < box.min + reach) | (at > box.max - reach)
            outside_points += points[outside.any(1)].tolist()
    return outside_points


def test_no_mark_is_cut_at_0_or_100_per_cent(read):
    plain = read["plain"]
    rows = plain.result["test"]["per_class"]
    ends = [{**row, "accuracy": float(n % 2), "interval": None} for n, row in enumerate(rows)]
    at_ends = [
        {"low": low, "high": low + 0.1, "n": n, "confidence": value, "accuracy": value}
        for low, value in ((0.0, 0.0), (0.9, 1.0))
        for n in (5, 50)
    ]
    scored = {"bins": at_ends, "ece": 0.1, "temperature": 1.2}
    split = {"per_class": ends, "calibration": scored, "calibrated": scored}
    result = {**plain.result, "test": {**plain.result["test"], **split}}
    lines = [{**line, "lr": 0.0 if index else 0.1} for index, line in enumerate(plain.lines)]
    run = replace(plain, result=result, lines=lines)
    for plot in (figures.per_class, figures.reliability, figures.curves):
        assert find_cut_labels(draw(plot(run))) == [], plot.__name__


def test_the_reliability_diagram_s_legend_covers_no_point(read):
    plain = read["plain"]
    upper_left = [
        {"low": 0.0, "high": 0.2, "n": 50, "confidence": 0.1, "accuracy": value}
        for value in (0.6, 0.8, 0.9, 1.0)
    ]
    split = {**plain.result["test"], "calibration": {"bins": upper_left, "ece": 0.9}}
    run = replace(plain, result={**plain.result, "test": split})
    figure = draw(figures.reliability(run))
    figure.canvas.draw()
    axes = figure.axes[0]
    box = axes.get_legend().get_window_extent()
    points = axes.transData.transform(axes.lines[1].get_xydata())
    assert len(points) == 4 and not box.count_contains(points)


def test_of_a_thousand_classes_the_most_confused_are_drawn_in_bounded_memory(read):
    draws = np.random.default_rng(0)
    counts = np.diag(draws.integers(5, 10, 1000)) + (draws.random((1000, 1000)) < 0.002)
    counts[700, 3], counts[41, 999] = 40, 30
    rows = [{"class": f"c{n}", "accuracy": n / 1000, "interval": None} for n in range(1000)]
    split = {"confusion_matrix": counts.tolist(), "per_class": rows, "accuracy": 0.5}
    run = replace(read["plain"], result={**read["plain"].result, "test": split})
    tracemalloc.start()
    with figure_style():
        matrix, bars = draw(figures.confusion(run)), draw(figures.per_class(run))
        render(matrix, "x", "")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200 * 2**20
    axes = matrix.axes[0]
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert len(names) == 30 and {"c700", "c3", "c41", "c999"} <= set(names)
    assert "30 of 1,000 classes" in axes.get_title(loc="left")
    assert "30 of the most frequent confusions" in render_report([run])[0]
    low = [text.get_text() for axes in bars.axes for text in axes.get_yticklabels()]
    assert low == [f"c{n}" for n in reversed(range(120))]


def test_hundred_classes_are_all_named_in_columns(read):
    figure = draw(figures.per_class(read["hundred"]))
    names = [text.get_text() for axes in figure.axes for text in axes.get_yticklabels()]
    assert len(figure.axes) == 3 and len(set(names)) == 100


def test_gallery_shows_grey_and_color(read):
    for name in ("plain", "grey"):
        figure = draw(images.worst_gallery(read[name]))
        count = len(read[name].predictions.mistakes)
        assert len(figure.axes[0].images) == count == len(images.worst_mistakes(read[name]))
