"""Figures of a run's tensor stats: true to its histograms, and silent where there is nothing."""

import json

import numpy as np
import pytest
from made_run import digits, make

from cifarlab.plots import tensor_stats
from cifarlab.plots.draw import draw
from cifarlab.report.write import write_report
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import read_runs

LAYERS = ("stem.conv1", "stages.stage1.0.branch.conv1", "head")


def line(epoch, layers=LAYERS, std=1.0):
    draw = np.random.default_rng(epoch)
    by_part = {"weights": {}, "activations": {}}
    for index, name in enumerate(layers):
        counts, edges = np.histogram(draw.normal(0, std * (index + 1), 2000), 64)
        ends = {"low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()}
        by_part["weights"][name] = ends | {"grad_norm": None if epoch == 0 else 0.1 * 10**-index}
        by_part["activations"][f"{name}.act1"] = ends | {"dead": [index * epoch, 20]}
    return {"epoch": epoch, "images": 25, "grad_norm": None, **by_part}


@pytest.fixture
def make_run(tmp_path):
    """A function of the lines of the tensor stats: the run as a report reads it."""

    def make_it(lines):
        folder = RunFolder(make(tmp_path / "run", digits()))
        for stats_line in lines:
            folder.tensor_stats.append(stats_line)
        return read_runs([folder.path])[0]

    return make_it


def test_every_layer_has_a_panel_and_every_epoch_a_column(make_run):
    run = make_run([line(e) for e in range(4)])
    for plot in (tensor_stats.weights, tensor_stats.activations):
        panels = plot(run).panels
        assert len(panels) == len(LAYERS)
        for panel in panels:
            assert panel.marks[0].values.shape[1] == 4
            assert panel.marks[0].extent[:2] == (-0.5, 3.5)
    titles = [axes.get_title(loc="left") for axes in draw(tensor_stats.weights(run)).axes]
    assert titles == ["stem conv1", "stage1.0 conv1", "head"]


def test_a_panel_holds_nearly_all_values_on_a_common_scale(make_run):
    run = make_run([line(e) for e in range(4)])
    first, _, last = tensor_stats.weights(run).panels
    low, high = first.marks[0].extent[2:]
    assert -4.5 < low < -2.5 and 2.5 < high < 4.5
    low, high = last.marks[0].extent[2:]
    assert -13 < low < -8 and 8 < high < 13


def test_fractions_are_those_of_the_bins():
    edges, below = tensor_stats._histogram({"low": 0.0, "high": 4.0, "counts": [1, 3, 0, 4]})
    fractions = np.diff(np.interp(np.linspace(-1, 5, 13), edges, below))
    expected = [0, 0, 0.5, 0.5, 1.5, 1.5, 0, 0, 2, 2, 0, 0]
    assert np.allclose(fractions, np.array(expected) / 8)


def test_the_bin_of_zeros_is_recognized():
    edges, grid = np.linspace(0, 4, 5), np.linspace(-1, 5, 13)
    assert np.flatnonzero(tensor_stats._holds_zero(edges, grid)).tolist() == [2, 3]
    below = np.linspace(-1, 1, 5)
    assert np.flatnonzero(tensor_stats._holds_zero(below, grid)).tolist() == [2]


def test_zeros_do_not_make_the_rest_of_an_activation_pale(make_run):
    lines = [line(e) for e in range(2)]
    for stats_line in lines:
        histogram = stats_line["activations"]["head.act1"]
        histogram |= {"low": 0.0, "high": 64.0, "counts": [10_000] + [5] * 63}
    dark = tensor_stats.activations(make_run(lines)).panels[2].marks[0].values[::-1, 0]
    assert np.sqrt(dark[5:]).min() > 0.85  # as dark as any


def test_gradients_and_dead_units_by_layer_and_epoch(make_run):
    run = make_run([line(e) for e in range(4)])
    left, right = tensor_stats.signals(run).panels
    values = left.marks[0].values
    assert np.isnan(values[:, 0]).all()
    assert np.allclose(values[:, 1:], np.array([[0.1], [0.01], [0.001]]))
    assert np.allclose(right.marks[0].values[2], [0, 10, 20, 30])
    names = [text.get_text() for text in draw(tensor_stats.signals(run)).axes[0].get_yticklabels()]
    assert names == ["stem conv1", "stage1.0 conv1", "head"]


def test_deep_networks_show_evenly_spread_layers(make_run):
    names = [f"stages.stage1.{n}.branch.conv1" for n in range(60)]
    run = make_run([line(e, names) for e in range(2)])
    panels = tensor_stats.weights(run).panels
    assert len(panels) == 24
    assert panels[0].title == "stage1.0 conv1"
    assert panels[-1].title == "stage1.59 conv1"
    assert tensor_stats.signals(run).panels[0].marks[0].values.size == 120


@pytest.mark.parametrize("lines", [[], [0]])
def test_without_tensor_stats_of_epochs_there_is_no_figure(make_run, lines, tmp_path):
    run = make_run([line(e) for e in lines])
    assert (
        tensor_stats.weights(run)
        is tensor_stats.activations(run)
        is tensor_stats.signals(run)
        is None
    )
    page = write_report([run.path], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "epoch by epoch" not in page


def test_a_page_shows_them(make_run, tmp_path):
    run = make_run([line(e) for e in range(3)])
    page = write_report([run.path], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Inside, epoch by epoch" in page and "for 25 training images" in page
    for kind in ("weights", "activations", "signals"):
        assert (tmp_path / "figures" / f"run-{kind}.svg").exists()


def test_missing_values_and_damaged_tensor_stats_cost_no_page(make_run, tmp_path):
    odd = line(1)
    odd["weights"]["head"] = {"low": None, "high": None, "counts": None, "grad_norm": None}
    del odd["weights"]["stem.conv1"]
    odd["activations"]["head.act1"] = None
    run = make_run([line(0), odd, line(2)])
    write_report([run.path], tmp_path / "page.html")
    run.path.joinpath("tensor_stats.jsonl").write_text("{}\n" + json.dumps(line(1)) + "\n")
    page = write_report([run.path], tmp_path / "page.html").read_text(encoding="utf-8")
    assert "epoch by epoch" not in page


@pytest.mark.parametrize(
    ("name", "spoken"),
    [
        ("stages.stage2.0.branch.conv1", "stage2.0 conv1"),
        ("stages.stage2.1.branch.act1.act", "stage2.1 act1"),
        ("groups.0.convs.1", "groups.0 convs.1"),
        ("blocks.block1.conv2", "block1 conv2"),
        ("whitening.0", "whitening.0"),
        ("head", "head"),
    ],
)
def test_layers_are_named_by_block_and_module(name, spoken):
    assert tensor_stats._spoken(name) == spoken
