"""The page: everything read and drawn comes together in one file that needs no other."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from cifarlab.plots.style import Picture, render, styled
from cifarlab.report import audit, compare, evaluation, provenance, settings, tables
from cifarlab.report.classes import per_class
from cifarlab.report.confusion import MOST_NUMBERED, confusion
from cifarlab.report.diagnosis import diagnose
from cifarlab.report.figures import curves, overlay
from cifarlab.report.mistakes import confident, confident_gallery, gallery, worst
from cifarlab.report.reliability import reliability
from cifarlab.report.shift import heat_map
from cifarlab.report.tensor_stats import activations, signals, weights
from cifarlab.run_folder.explained import ExplainedFigure
from cifarlab.run_folder.run_data import SPOKEN, RunData, dig

FIGURES: tuple[tuple[str, Callable[[RunData], Figure | None], str], ...] = (
    ("curves", curves, "Accuracy, loss and learning rate by epoch"),
    ("confusion", confusion, "Confusion matrix"),
    ("classes", per_class, "Accuracy of each class with its interval"),
    ("mistakes", gallery, "The worst mistakes"),
    ("confident", confident_gallery, "The most confident mistakes"),
    ("reliability", reliability, "Reliability diagram"),
    ("shift", heat_map, "Accuracy under corruptions"),
    ("weights", weights, "Distribution of each layer's weights by epoch"),
    ("activations", activations, "Distribution of each layer's activations by epoch"),
    ("signals", signals, "Gradient norms and dead units by layer and epoch"),
    ("suspects", audit.suspects_figure, "Labels that are probably wrong"),
    ("duplicates", audit.pairs_figure, "Near-duplicates"),
)
_INSIDE = ("weights", "activations", "signals")


@dataclass(frozen=True)
class Section:
    """One run's part of the page: the run, its pictures by kind, and the way to it."""

    run: RunData
    anchor: str
    pictures: dict[str, Picture]


def page(
    runs: Sequence[RunData], formats: Sequence[str] = ("svg",), left_out: Sequence[str] = ()
) -> tuple[str, list[Picture]]:
    """Return the HTML of a report on one or more runs, and all its figures in these formats.

    ``left_out`` are notes on runs that it lacks.
    """
    with styled():
        sections = [
            Section(run, f"run-{number}", _pictures(run, formats))
            for number, run in enumerate(runs, 1)
        ]
        shared = overlay(runs) if len(runs) > 1 else None
        alt = "Validation accuracy by epoch, all runs"
        overlaid = render(shared, "comparison-curves", alt, formats) if shared else None
    text = (
        _environment()
        .get_template("page.html")
        .render(
            title=f"{runs[0].name}: report" if len(runs) == 1 else f"{len(runs)} runs: report",
            sections=[_section(section) for section in sections],
            left_out=left_out,
            comparison=_comparison(sections, overlaid) if len(runs) > 1 else None,
        )
    )
    pictures = [picture for section in sections for picture in section.pictures.values()]
    return text, [*pictures, *([overlaid] if overlaid else [])]


def _pictures(run: RunData, formats: Sequence[str]) -> dict[str, Picture]:
    drawn = {}
    for kind, draw, alt in FIGURES:
        figure = draw(run)
        if figure is not None:
            drawn[kind] = render(figure, f"{run.slug}-{kind}", f"{alt}: {run.name}", formats)
    return drawn


def _comparison(sections: Sequence[Section], overlaid: Picture | None) -> dict[str, Any]:
    runs = [section.run for section in sections]
    return {
        "rows": [compare.row(section.run, section.anchor) for section in sections],
        "warnings": compare.warnings(runs),
        "differences": settings.differences([run.recipe for run in runs]),
        "picture": overlaid,
    }


def _section(section: Section) -> dict[str, Any]:
    run = section.run
    counts = tables.confusion_of(run)
    small = counts is not None and len(counts) <= MOST_NUMBERED
    return {
        "anchor": section.anchor,
        "run": run,
        "state": compare.state(run),
        "accuracies": tables.accuracies(run),
        "facts": tables.facts(run),
        "notes": tables.notes(run),
        "findings": diagnose(run),
        "split": SPOKEN.get(run.split_name or "", ""),
        "predicted": SPOKEN.get(run.predicted or "", ""),
        "pictures": section.pictures,
        "inside": [kind for kind in _INSIDE if kind in section.pictures],
        "recorded": _recorded(run),
        "names": tables.class_names(run, len(counts)) if counts is not None else [],
        "counts": counts.tolist() if counts is not None and small else [],
        "drawn": tables.drawn_note(counts) if counts is not None else "",
        "confused": tables.confused(run),
        "mistakes": worst(run),
        "confident": confident(run),
        "evaluation": _evaluation(run),
        "audit": _audit(run),
        "settings": settings.settings(run.recipe),
        "origin": provenance.origin(run),
        "logs": provenance.logs(run),
    }


def _recorded(run: RunData) -> int:
    """Return of how many images the activations were recorded."""
    images = run.tensor_stats[0].get("images") if run.tensor_stats else None
    return images if isinstance(images, int) else 0


def _evaluation(run: RunData) -> dict[str, Any]:
    return {
        "on": evaluation.examined_on(run),
        "spread": evaluation.spread(run),
        "groups": evaluation.groups(run),
        "calibration": evaluation.calibration(run),
        "tta": evaluation.tta(run),
        "families": evaluation.families(run),
        "ood": evaluation.ood(run),
        "ood_data": dig(run.examined, "ood", "data"),
    }


def _audit(run: RunData) -> dict[str, Any]:
    return {
        "folds": dig(run.audit, "labels", "folds"),
        "labels": audit.label_facts(run),
        "label_notes": audit.notes(run, "labels"),
        "depths": audit.depths(run),
        "suspects": audit.suspects(run),
        "copies": audit.twin_facts(run),
        "copy_notes": audit.notes(run, "duplicates"),
        "twins": audit.twins(run),
        "pairs": audit.pairs(run),
    }


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["svg_uri"] = _svg_uri
    return environment


def _svg_uri(picture: Picture | ExplainedFigure) -> str:
    """Inside an <img>, an SVG's ids are its own and nothing in it can run."""
    return "data:image/svg+xml;base64," + base64.b64encode(picture.svg).decode("ascii")
