"""How what became of a line of the second reading is looked up: checks, each a function."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from made_run import make

from cifarlab.experiments.search.definition import find_search
from cifarlab.experiments.search.figures import FIGURES as SEARCH_FIGURES
from cifarlab.experiments.study.definition import find_study
from cifarlab.experiments.study.figure import FIGURES as STUDY_FIGURES
from cifarlab.explain.previews import draw_activations, preview_augmentation
from cifarlab.inference.tta import generate_views
from cifarlab.plots.spec import Marks
from cifarlab.recipes.catalog import find, shipped_recipes, usual_images
from cifarlab.recipes.text import change
from cifarlab.report.tables import prediction_counts
from cifarlab.run_folder.run_data import read_runs


def setting(config: Any, key: str) -> Any:
    """A setting by its dotted key, as YAML has it."""
    tree = config.model_dump(mode="json")
    for part in key.split("."):
        tree = tree[part]
    return tree


def recipe(name: str, settings: Mapping[str, Any], says: str = "") -> None:
    """A recipe has those settings, and its text says so."""
    assert {key: setting(find(name), key) for key in settings} == settings
    assert says in " ".join(shipped_recipes()[name].text.split())


def contradicted(name: str, says: str) -> None:
    """A recipe's number has its contradiction beside it."""
    reported = shipped_recipes()[name].reported
    assert reported is not None
    assert says in reported.contradiction


def steps(name: str, count: int) -> None:
    """A recipe takes so many steps per epoch."""
    assert -(-usual_images(find(name)) // find(name).training.batch_size) == count


def study(
    name: str,
    rows: str,
    columns: str = "",
    settings: Mapping[str, Any] = MappingProxyType({}),
    metric: str = "accuracy",
) -> None:
    """A study has those rows and columns, compares by that metric, and trains with the settings."""
    defined = find_study(name)
    assert set(rows.split()) <= {row.name for row in defined.rows}
    assert set(columns.split()) <= set(defined.columns)
    assert defined.metric.kind == metric
    if settings:
        for row in defined.recipes().values():
            assert {key: setting(row, key) for key in settings} == settings


def curves(name: str, rows: str, what: str) -> None:
    """A study draws the curves of those rows, training beside validation."""
    names, study_rows = rows.split(), [row.name for row in find_study(name).rows]
    assert set(names) <= set(study_rows)
    with tempfile.TemporaryDirectory() as folder:
        runs = read_runs([make(Path(folder) / "run")])
    plot = STUDY_FIGURES["curves"][0](
        SimpleNamespace(
            runs_by_row=dict.fromkeys(study_rows, runs), baseline=find_study(name).baseline_name
        )
    )
    panels = [panel for panel in plot.panels if panel.y.label.startswith(what)]
    drawn = [[mark.label for mark in panel.marks if isinstance(mark, Marks)] for panel in panels]
    assert all(any(labels.count(f"{row} (1)") == 2 for labels in drawn) for row in names)


def views(name: str) -> None:
    """A recipe's views are an image and its shifts by a pixel towards each corner, mirrored too."""
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    image = torch.stack([rows, columns], 2)[None]
    drawn = [*generate_views(image, setting(find(name), "evaluation.tta_views"))]
    pairs = zip(drawn[::2], drawn[1::2], strict=True)
    assert all(torch.equal(view.flip(2), mirror) for view, mirror in pairs)
    moved = []
    for view in drawn[::2]:
        down, right = (view[0, 4, 4] - image[0, 4, 4]).int().tolist()
        assert view[0, :, 4, 0].tolist() == [7 - abs(7 - abs(row + down)) for row in range(8)]
        assert view[0, 4, :, 1].tolist() == [7 - abs(7 - abs(col + right)) for col in range(8)]
        moved.append((down, right))
    assert sorted(moved) == [(-1, -1), (-1, 1), (0, 0), (1, -1), (1, 1)]


def search(name: str, base: str, keys: str, settings: Mapping[str, Any]) -> None:
    """A search is of that recipe, over those keys, with those settings of its own."""
    defined = find_search(name)
    assert defined.recipe == base
    assert set(keys.split()) <= set(defined.space)
    assert {key: setting(defined, key) for key in settings} == settings


def searches_draw(figure: str) -> None:
    """Each search has that figure, with training beside validation."""
    description = SEARCH_FIGURES[figure][1]
    assert "validation" in description and "training" in description


def activations_drawn(names: str) -> None:
    """The functions are drawn with their slopes."""
    panels = draw_activations().panels
    assert panels
    for panel in panels:
        assert set(names.split()) <= {getattr(mark, "label", "") for mark in panel.marks}


def augmentation_drawn(name: str, kinds: str) -> None:
    """An image is drawn before and after each of a recipe's transformations."""
    (panel,) = preview_augmentation(find(name), np.zeros((32, 32, 3), np.uint8)).panels
    assert set(kinds.split()) <= {getattr(mark, "text", "") for mark in panel.marks}


def predictions_counted() -> None:
    """A report shows how often each class is predicted beside how often it is true."""
    with tempfile.TemporaryDirectory() as folder:
        run = read_runs([make(Path(folder) / "run")])[0]
    assert prediction_counts(run).columns[:3] == ["class", "images", "predicted"]


def goes_on_from_best(name: str) -> None:
    """A recipe may be trained further from its best epoch."""
    extension = {"duration": "10 epochs", "schedule": "hold", "start": "best"}
    change(find(name), {"training.extensions": [extension]})
