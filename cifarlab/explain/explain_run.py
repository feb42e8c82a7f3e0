"""Everything that is explained of one run: which figures, of which images, into which folder."""

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cifarlab.data.dataset import Log, Progress
from cifarlab.explain.image_selection import ImageSet, select_held_out
from cifarlab.explain.maps import default_layer, map_shapes, spatial_layers
from cifarlab.explain.sanity import randomize_layers
from cifarlab.explain.structure import architecture
from cifarlab.inference.inputs import Inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.plots.spec import FORMATS, require_formats
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.explained import INDEX, KINDS, read_index
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import UserError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import write_json


class Explanation(NamedTuple):
    """Result of ``explain_run``.

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
    resize_mode: str | None = None,
    sanity_check: bool = False,
    out: Path | None = None,
    formats: Sequence[str] = ("svg",),
    progress: Progress | None = None,
    log: Log | None = None,
) -> Explanation:
    """Draw what a run's network looks at and what it is made of, into RUN/explained or ``out``.

    Without ``images``: of held-out ones and of the worst mistakes; a report shows these. With
    image files: of those alone. ``layers`` is ``all``, or names with commas between; None: the
    last one with a map. ``target`` is ``predicted``, ``true`` or a class. ``sanity_check`` adds the
    check of ``sanity.randomize_layers``; ``log`` gets what the data are. Raises UserError,
    RunFolderError, CheckpointError, DataError, MissingExtraError, StorageError.
    """
    require_formats(formats)
    require_packages("explaining", "explain", "captum", "matplotlib")
    from cifarlab.explain.pictures import RunFigures
    from cifarlab.plots.style import figure_style, render, save

    recipe = folder.recipe()
    run_predictor = RunPredictor(folder, resize_mode)
    predictor = run_predictor.predictor
    layer_names = _parse_layers(layers, map_shapes(predictor))
    if images:
        inputs = run_predictor.read(images)
        names = [Path(name).name for name in inputs.ids]
        image_set = ImageSet(inputs.images, names, np.full(len(names), -1))
    else:
        image_set = select_held_out(folder, recipe, progress, log)
    probabilities = run_predictor.predict(Inputs(image_set.names, image_set.images)).probabilities
    targets = _target_classes(predictor, image_set.labels, probabilities.argmax(1), target)
    figures = RunFigures(folder, recipe, predictor, layer_names, image_set, probabilities, targets)
    check = randomize_layers(predictor, image_set.images) if sanity_check else None
    directory, saved = out or folder.explained, {}
    with figure_style():
        for slug, figure, caption in list(figures.draw("given-" if images else "", check)):
            picture = render(figure, slug, caption, formats)
            save(picture, directory)
            saved[slug] = {"caption": caption, "wide": picture.wide}
    if not images:
        _write_index(directory, predictor, saved)
    notes = [*figures.notes(), *([check.verdict] if check else [])]
    return Explanation(figures.rows(), notes, directory, list(saved))


def draw_recipe(recipe: Recipe, out: Path, formats: Sequence[str] = ("svg",)) -> Path:
    """The architecture of a recipe that need not be trained, as figures in ``out``; the SVG.

    Raises UserError, MissingExtraError, RecipeError, StorageError.
    """
    require_formats(formats)
    require_packages("explaining", "explain", "matplotlib")
    from cifarlab.explain.drawing import draw_architecture
    from cifarlab.plots.style import figure_style, render, save
    from cifarlab.recipes.catalog import usual_shape

    shape, classes = usual_shape(recipe)
    slug = f"{recipe.name.replace('/', '-')}-architecture"
    with figure_style():
        figure = draw_architecture(architecture(recipe.model, shape, classes), recipe.name)
        save(render(figure, slug, f"The network of {recipe.name}", formats), out)
    return out / f"{slug}.svg"


def _parse_layers(option: str | None, shapes: dict[str, tuple[int, int, int]]) -> list[str]:
    if option is None:
        return [default_layer(shapes)]
    if option == "all":
        return spatial_layers(shapes)
    return [name.strip() for name in option.split(",")]


def _target_classes(
    predictor: Predictor, labels: np.ndarray, predicted: np.ndarray, target: str
) -> np.ndarray:
    """The class number that each image's map is for. Raises UserError."""
    if target == "predicted":
        return predicted
    if target == "true":
        if (labels < 0).any():
            what = "the true class of an image file is not known"
            raise UserError(what, "name it with --target CLASS")
        return labels
    if target not in predictor.classes:
        choice = ", ".join(("predicted", "true", *predictor.classes))
        raise UserError(f"{target!r} is no class of this network", f"--target is one of {choice}")
    return np.full(len(labels), predictor.classes.index(target))


def _write_index(directory: Path, shown: Predictor, saved: dict[str, dict[str, Any]]) -> None:
    """What the folder holds, for reports; figures of other weights that were there go."""
    weights = {"epoch": shown.epoch, "step": shown.step}
    there, figures = read_index(directory)
    if there != weights:
        # only what an index of ours names: the folder may be anybody's
        for kind, suffix in product(figures.keys() & set(KINDS) - saved.keys(), FORMATS):
            (directory / f"{kind}.{suffix}").unlink(missing_ok=True)
        figures = {}
    write_json(directory / INDEX, {**weights, "figures": figures | saved})
