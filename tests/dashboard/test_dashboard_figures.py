"""Figures that other commands drew: which are shown, and what else is never served."""

import os
from pathlib import Path

import pytest
from made_run import digits, make

from cifarlab.dashboard import figures
from cifarlab.dashboard.index import Index
from cifarlab.plots.catalog import FIGURES
from cifarlab.run_folder.explained import KINDS

SVG = "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    path = make(tmp_path / "runs" / "a b", digits(n=50))
    for name in (
        "explained/first-layer.svg",
        "report/figures/a-b-signals.svg",
        "report/figures/a-b-curves.svg",
        "explained/first-layer.png",
        "explained/index.json",
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(SVG)
    return path


def test_figures_are_listed_but_for_those_that_the_page_draws(run):
    assert [file.name for file in figures.find_figures(run)] == [
        "first-layer.svg",
        "a-b-signals.svg",
    ]


def test_of_a_renamed_folder_the_newest_figures_are_shown(run):
    old = run / "report" / "figures" / "z-signals.svg"
    old.write_text(SVG)
    os.utime(old, (1, 1))
    assert old not in figures.find_figures(run)
    os.utime(old)
    os.utime(old.with_name("a-b-signals.svg"), (1, 1))
    assert old in figures.find_figures(run) and len(figures.find_figures(run)) == 2


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("a-b-signals.svg", "Gradient norms and dead units by layer and epoch"),
        ("maps.svg", "Where it looks"),
        ("given-maps.svg", "Where it looks, of the images given"),
        ("first-layer.svg", "First layer"),
    ],
)
def test_a_figure_is_headed_by_words(name, title):
    assert figures.figure_title(Path(name)) == title


def test_every_figure_that_is_drawn_has_a_title():
    slugs = [*KINDS, *FIGURES, "rungs", "coordinates", "figure"]
    untitled = [slug for slug in slugs if slug not in figures._TITLES]
    assert untitled == []


def test_a_search_s_figures_stand_in_the_order_of_its_page_the_unknown_last(run):
    for name in ("importance", "coordinates", "rungs", "curves", "a-b"):
        (run / "explained" / f"of-{name}.svg").write_text(SVG)
    named = [file.stem for file in figures.find_figures(run) if file.stem.startswith("of-")]
    assert named == ["of-rungs", "of-coordinates", "of-importance", "of-a-b"]


@pytest.mark.parametrize(
    ("head", "inches"),
    [('<svg a="1" width="309.6pt"', 4.3), ('<svg width="532.8pt"', 7.4), ("<svg", 7.4)],
)
def test_a_figure_is_shown_by_its_inches(run, head, inches):
    file = run / "explained" / "first-layer.svg"
    file.write_text(f"<?xml version='1.0'?>\n{head} height='10pt'><g/></svg>")
    assert figures.figure_width(file) == pytest.approx(inches)
    assert f"style='--inches:{inches:.2f}'" in figures.figure_sheets(Index(run.parent), [file])


def test_a_figure_is_an_image_at_its_own_address(run):
    index = Index(run.parent)
    text = figures.figure_sheets(index, figures.find_figures(run))
    assert "src='/figure/a%20b/explained/first-layer.svg'" in text and "<svg" not in text


def test_a_served_figure_may_run_nothing(run):
    served = figures.serve_figure(Index(run.parent), "a b/explained/first-layer.svg")
    assert (served.status_code, served.media_type) == (200, "image/svg+xml")
    policy = served.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none'") and "script" not in policy


@pytest.mark.parametrize(
    "url_path",
    [
        "a b/recipe.yaml",
        "a b/explained/index.json",
        "a b/explained/none.svg",
        "a b/explained",
        "a b/explained/link.svg",
        "../secret.svg",
        "/etc/secret.svg",
        "a b/../../secret.svg",
        "a\0b.svg",
        "",
    ],
)
def test_nothing_else_is_served(run, url_path):
    (run.parents[1] / "secret.svg").write_text(SVG)
    (run / "explained" / "link.svg").symlink_to(run.parents[1] / "secret.svg")
    assert figures.serve_figure(Index(run.parent), url_path).status_code == 404


def test_a_figure_of_any_size_is_not_served(run, monkeypatch):
    monkeypatch.setattr(figures, "_MAX_BYTES", 10)
    answered = figures.serve_figure(Index(run.parent), "a b/explained/first-layer.svg")
    assert answered.status_code == 404
