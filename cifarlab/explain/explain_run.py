"""Everything that is explained of one run: which figures, of which images, into which folder."""

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarlab.data.dataset import Progress
from cifarlab.explain.image_selection import Shown, given, held_out
from cifarlab.explain.maps import chosen_layer, map_shapes, spatial_layers
from cifarlab.explain.sanity import cascade
from cifarlab.explain.structure import architecture
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.recipes.schema import Recipe
from cifarlab.report.explained import INDEX, KINDS
from cifarlab.runs.folder import RunFolder
from cifarlab.system.errors import MissingExtraError, RunFolderError, UserError
from cifarlab.system.files import read_json, write_text

if TYPE_CHECKING:
    from cifarlab.explain.pictures import Told

_TOLD = ("predicted", "true")  # targets that are no class names


@dataclass(frozen=True)
class Explained:
    """What ``explain_run`` found.

    ``rows`` are (image, true class, predicted class, its probability, class that the map is for);
    ``notes`` are to be read; ``folder`` and ``slugs`` say where the figures are.
    """

    rows: list[tuple[str, str, str, str, str]]
    notes: list[str]
    folder: Path
    slugs: list[str]


def explain_run(
    folder: RunFolder,
    images: Sequence[Path] = (),
    *,
    layers: str | None = None,
    target: str = "predicted",
    fit: str | None = None,
    randomise: bool = False,
    out: Path | None = None,
    progress: Progress | None = None,
) -> Explained:
    """Draw what a run's network looks at and what it is made of, into RUN/explained or ``out``.

    Without ``images``: of held-out ones and of the worst mistakes; a report shows these. With
    image files: of those alone. ``layers`` is ``all``, or names with commas between; None: the
    last one with a map. ``target`` is ``predicted``, ``true`` or a class. ``randomise`` adds the
    check of ``sanity.cascade``. Raises UserError, RunFolderError, CheckpointError, DataError,
    MissingExtraError, StorageError.
    """
    require_extra("captum", "matplotlib")
    from cifarlab.explain.pictures import Pictures, seen_by
    from cifarlab.plots.style import styled

    recipe = folder.recipe()
    oracle = RunPredictor(folder, fit)
    predictor = oracle.predictor
    about, _ = WeightsFile.read(folder.weights(recipe.evaluation.checkpoint))
    wanted = _layers(layers, map_shapes(predictor))
    shown = given(images, oracle.policy) if images else held_out(folder, recipe, progress)
    seen = seen_by(oracle, shown)
    targets = _targets(predictor, shown, seen.predicted, target)
    pictures = Pictures(folder, recipe, predictor, about.epoch, wanted, seen, targets)
    checked = cascade(predictor, shown.images) if randomise else None
    place = out or folder.explained
    with styled():
        told = list(pictures.told("given-" if images else "", checked))
        drawn = [_saved(one, place) for one in told]
    if not images:
        _write_index(place, about, drawn)
    notes = [*pictures.notes(), *([checked.verdict] if checked else [])]
    return Explained(pictures.rows(), notes, place, [one.slug for one in told])


def draw_recipe(recipe: Recipe, out: Path) -> Path:
    """The architecture of a recipe that need not be trained, as figures in ``out``; the SVG.

    Raises MissingExtraError, RecipeError, StorageError.
    """
    require_extra("matplotlib")
    from cifarlab.explain.drawing import draw
    from cifarlab.plots.style import render, save, styled
    from cifarlab.recipes.catalog import usual_shape

    shape, classes = usual_shape(recipe)
    slug = f"{recipe.name.replace('/', '-')}-architecture"
    with styled():
        figure = draw(architecture(recipe.model, shape, classes), recipe.name)
        save(render(figure, slug, f"The network of {recipe.name}"), out)
    return out / f"{slug}.svg"


def require_extra(*packages: str) -> None:
    """Raise MissingExtraError where one of the packages is not installed."""
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"explaining needs {package}, which is not installed",
                "pip install 'cifarlab[explain]'",
            ) from error


def _layers(asked: str | None, shapes: dict[str, tuple[int, int, int]]) -> list[str]:
    if asked is None:
        return [chosen_layer(shapes)]
    if asked == "all":
        return spatial_layers(shapes)
    return [name.strip() for name in asked.split(",")]


def _targets(predictor: Predictor, shown: Shown, predicted: np.ndarray, target: str) -> np.ndarray:
    """The class number that each image's map is for. Raises UserError."""
    if target == "predicted":
        return predicted
    if target == "true" and (shown.labels >= 0).all():
        return shown.labels
    if target == "true":
        raise UserError(
            "the true class of an image file is not known", "name it with --target CLASS"
        )
    if target not in predictor.classes:
        raise UserError(
            f"{target!r} is no class of this network",
            f"--target is one of {', '.join((*_TOLD, *predictor.classes))}",
        )
    return np.full(len(shown), predictor.classes.index(target))


def _saved(told: "Told", place: Path) -> tuple[str, dict[str, Any]]:
    """Write a figure's files; its name, and what a report must know of it."""
    from cifarlab.plots.style import render, save

    picture = render(told.figure, told.slug, told.caption)
    save(picture, place)
    return told.slug, {"caption": told.caption, "wide": picture.wide}


def _write_index(
    place: Path, about: WeightsFile, drawn: Sequence[tuple[str, dict[str, Any]]]
) -> None:
    """What the folder holds, for reports; figures of other weights that were there go."""
    file = place / INDEX
    made: dict[str, Any] = {"epoch": about.epoch, "step": about.step, "figures": {}}
    stale: set[str] = set()  # only what an index of ours names: the folder may be anybody's
    try:
        before = read_json(file, "explain again") or {}
        stale = set(before["figures"])
        if (before["epoch"], before["step"]) == (about.epoch, about.step):
            made["figures"] = dict(before["figures"])
    except (RunFolderError, KeyError, TypeError):
        pass  # there is none, or none of ours: it is replaced
    made["figures"] |= dict(drawn)
    for kind in stale.intersection(KINDS) - made["figures"].keys():
        for suffix in (".svg", ".png", ".pdf"):
            (place / f"{kind}{suffix}").unlink(missing_ok=True)
    write_text(file, json.dumps(made, indent=2) + "\n")
