"""The figures of a comparison: every seed a point, the margin a band, decided rows apart."""

import numpy as np
import pytest
from made_study import ACCURACIES, made

from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.evidence import evidence
from cifarlab.experiments.study.figure import figure
from cifarlab.plots.draw import draw_all
from cifarlab.plots.spec import BLUE, GREY, ORANGE, VERMILION, Band, Marks, Panel, Plot, Text
from cifarlab.stats.sequential import Plan, sequential_interval

SCALED = "At scale 0.1: 0.1 of the training images and 0.1 of the epochs."


def marks(panel, color):
    return sorted(
        (round(float(x), 2), int(y))
        for mark in panel.marks
        if isinstance(mark, Marks) and mark.color == color
        for x, y in zip(mark.x, mark.y, strict=True)
        if x == x  # not NaN
    )


def test_the_figure_shows_every_run_and_the_reported_numbers():
    levels, differences = figure(made()).panels
    positions = dict(zip(ACCURACIES, range(3), strict=True))
    expected = [
        (round(100 * a, 2), positions[row]) for row, values in ACCURACIES.items() for a in values
    ]
    assert marks(levels, GREY) == sorted(expected)
    assert marks(differences, GREY) == [(1.9, 1), (2.0, 1), (2.1, 1)]
    assert marks(levels, VERMILION) == [(90.0, 0), (99.0, 1)]
    assert marks(differences, VERMILION) == []
    levels, differences = figure(made(scale=0.1)).panels
    assert marks(levels, VERMILION) == [] and marks(differences, VERMILION) == [(9.0, 1)]


def planned(plan: Plan, differences: list[float], margin: float | None = 0.002) -> Comparison:
    outcomes = [
        Outcome(row, seed, f"{row}{seed}", "CIFAR-10", test=0.9 + value)
        for row, values in {"base": [0.0] * len(differences), "ours": differences}.items()
        for seed, value in enumerate(values)
    ]
    return compare("planned", ["base", "ours"], "base", outcomes, plan=plan, margin=margin)


DECIDED = [0.010, 0.011, 0.0095, 0.0102]


def test_undecided_rows_are_hollow_and_the_margin_is_a_band():
    for differences, hollow in ((DECIDED, False), ([0.001, -0.004, 0.003], True)):
        panel = figure(planned(Plan.up_to(6), differences)).panels[1]
        means = [m for m in panel.marks if isinstance(m, Marks) and m.ends is not None]
        at_row = [m.hollow for m in means if np.isfinite(np.array(m.x, dtype=float)).any()]
        assert at_row == [hollow]
        (band,) = [m for m in panel.marks if isinstance(m, Band)]
        assert list(band.x) == [-0.2, 0.2] and band.label == "margin, 0.2 points"
    without = figure(planned(Plan.up_to(6), DECIDED, None)).panels[1]
    assert not [m for m in without.marks if isinstance(m, Band)]


def labels(plot: Plot) -> set[str]:
    return {m.label for panel in plot.panels for m in panel.marks if isinstance(m, Marks)} - {""}


def test_the_legend_names_what_is_there():
    known = {"one seed", "mean, 95 % interval"}
    assert labels(figure(planned(Plan.up_to(6), DECIDED))) == known
    undecided = planned(Plan.up_to(6), [0.001, -0.004, 0.003])
    assert labels(figure(undecided)) == {*known, "mean, 95 % interval, undecided"}
    assert labels(figure(made())) == {*known, "reported"}


def test_no_interval_presses_the_points_together():
    """Two runs that differ much have an interval beyond 0 and 100 %: it ends in an arrow."""
    outcomes = [
        Outcome(row, seed, f"{row}{seed}", "CIFAR-10", test=value)
        for row, values in {"base": (0.60, 0.61), "wild": (0.40, 0.50)}.items()
        for seed, value in enumerate(values)
    ]
    panel = figure(compare("wild", ["base", "wild"], "base", outcomes, plan=Plan.once(2))).panels[0]
    assert panel.x.limits[0] > -1 and panel.x.limits[1] < 90
    arrows = [m for m in panel.marks if isinstance(m, Marks) and m.marker in "<>" and m.marker]
    assert {(m.marker, int(np.flatnonzero(np.isfinite(m.x))[0])) for m in arrows} == {
        ("<", 1),
        (">", 1),
    }


def means_of(panel: Panel) -> Marks:
    return next(m for m in panel.marks if isinstance(m, Marks) and m.ends is not None)


def test_evidence_grows_seed_by_seed():
    (panel,) = evidence(planned(Plan.up_to(6), DECIDED)).panels
    assert panel.title == "ours: better"
    (band,) = [m for m in panel.marks if isinstance(m, Band)]
    assert (band.low[0], band.high[0]) == pytest.approx((-0.2, 0.2))  # the margin
    means = means_of(panel)
    low, high = means.ends
    assert np.isnan(low[:2]).all() and (np.diff(low[2:]) >= 0).all()
    final = sequential_interval(DECIDED, Plan.up_to(6))
    assert [low[-1], high[-1]] == pytest.approx([100 * end for end in final])
    assert means.y[-1] == pytest.approx(100 * np.mean(DECIDED))
    assert panel.y.limits[0] < -0.2 and evidence(planned(Plan.open(), DECIDED))
    assert evidence(planned(Plan.once(4), DECIDED)) is None  # one look
    assert evidence(planned(Plan.up_to(6), DECIDED[:2])) is None  # none so far


def test_a_row_that_is_decided_at_its_first_look_has_its_interval():
    (panel,) = evidence(planned(Plan.up_to(6), DECIDED[:3])).panels
    ends = means_of(panel).ends
    assert np.isfinite(ends[:, 2]).all() and ends[0, 2] < ends[1, 2]


def test_the_picture_is_the_decision():
    """An interval leaves zero out where Holm's correction decides, on one scale for all rows."""
    draw = np.random.default_rng(1)
    for shift in np.linspace(0.002, 0.02, 19):
        values = {"base": np.full(5, 0.9)} | {
            f"r{k}": 0.9 + k * shift / 3 + 0.004 * draw.standard_normal(5) for k in range(1, 4)
        }
        outcomes = [
            Outcome(row, seed, f"{row}{seed}", "CIFAR-10", test=float(value))
            for row, of_row in values.items()
            for seed, value in enumerate(of_row)
        ]
        comparison = compare("three", [*values], "base", outcomes, plan=Plan.up_to(6))
        panels = evidence(comparison).panels
        assert len({panel.y.limits for panel in panels}) == 1
        for row, panel in zip(comparison.rows[1:], panels, strict=True):
            low, high = means_of(panel).ends[:, -1]
            assert (low > 0 or high < 0) == row.is_decided == (not means_of(panel).hollow)
            assert means_of(panel).color == (BLUE if row.is_decided else ORANGE)


def test_the_figure_names_data_and_scale():
    assert "digits" in figure(made("digits")).title
    assert SCALED in figure(made(scale=0.1)).title
    assert SCALED not in figure(made()).title


def test_a_row_far_from_all_others_does_not_press_them_together():
    close_rows = {f"r{k}": (0.90 + k / 1000, 0.902 + k / 1000) for k in range(6)}
    outcomes = [
        Outcome(row, seed, f"{row}{seed}", "CIFAR-10", test=value)
        for row, values in {**close_rows, "diverged": (0.10, 0.10)}.items()
        for seed, value in enumerate(values)
    ]
    for panel, mean in zip(
        figure(compare("far", [*close_rows, "diverged"], "r0", outcomes)).panels,
        ("\u25c2 10.0", "\u25c2 -80.1"),
        strict=True,
    ):
        left, right = panel.x.limits
        assert right - left < 30
        texts = [mark for mark in panel.marks if isinstance(mark, Text)]
        assert [(mark.text, mark.y) for mark in texts] == [(mean, 6)]
    for panel in figure(compare("near", [*close_rows], "r0", outcomes[:-2])).panels:
        assert not [mark for mark in panel.marks if isinstance(mark, Text)]


def test_the_same_comparison_gives_the_same_bytes():
    first, second = (draw_all({"figure": (figure, "")}, made()) for _ in range(2))
    assert first == second
