"""Explains a run: draws its figures, of which images, into which folder."""

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
from cifarlab.inference.inputs import Inputs, input_policy, read_inputs
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
    ``notes`` are for the user; the figures are in ``folder``, each named by its slug.
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
    """Draw what a run's network looks at and what it is made of.

    Args:
        folder: of the run
        images: image files; without any, held-out images and the worst mistakes, for reports
        layers: ``all``, or names separated by commas; None: the last one with a map
        target: the class that maps are for: ``predicted``, ``true``, or a class name
        resize_mode: as in ``RunPredictor``
        sanity_check: whether to add the check of ``sanity.randomize_layers``
        out: where figures are written; None: RUN/explained
        formats: of the figures: svg, png, pdf
        progress: called while data are downloaded and read
        log: called with a line that describes the data

    Raises:
        UserError: an option is wrong, an extra is missing, or run, image or weights can't be read
        StorageError: a figure can't be written
    """
    require_formats(formats)
    require_packages("explaining", "explain", "captum")
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
    directory, entries = out or folder.explained, {}
    with figure_style():
        for slug, figure, caption in list(figures.draw("given-" if images else "", check)):
            picture = render(figure, slug, caption, formats)
            save(picture, directory)
            entries[slug] = {"caption": caption, "wide": picture.wide}
    if not images:
        _write_index(directory, predictor, entries)
    notes = [*figures.notes(), *([check.verdict] if check else [])]
    return Explanation(figures.rows(), notes, directory, list(entries))


def draw_recipe(
    recipe: Recipe,
    out: Path,
    *,
    image: Path | None = None,
    activations: bool = False,
    formats: Sequence[str] = ("svg",),
) -> list[Path]:
    """Draw what a recipe that need not be trained is made of, and return the files.

    Args:
        recipe: whose network is drawn
        out: the folder of the figures
        image: an image file that its augmentation is shown on, of any size: cropped where the
            recipe says nothing else
        activations: whether the activation functions are drawn, too
        formats: besides svg: png, pdf

    Raises:
        UserError: there is no such format, or the recipe augments nothing
        RecipeError: the network can't be built, or an augmentation doesn't fit the image
        DataError: the image can't be read
        StorageError: a figure can't be written
    """
    require_formats(formats)
    from cifarlab.explain.drawing import draw_architecture
    from cifarlab.explain.previews import draw_activations, preview_augmentation
    from cifarlab.plots.draw import draw
    from cifarlab.plots.style import figure_style, render, save
    from cifarlab.recipes.catalog import usual_shape

    shape, classes = usual_shape(recipe)
    pictures = {
        "architecture": draw_architecture(architecture(recipe.model, shape, classes), recipe.name)
    }
    if image:
        mode = recipe.data.images.resize_mode
        policy = input_policy(recipe.data.images, shape, "crop" if mode == "error" else mode)
        pixels = read_inputs([image], policy).images[0]
        pictures["augmentation"] = draw(preview_augmentation(recipe, pixels))
    if activations:
        pictures["activations"] = draw(draw_activations())
    paths: list[Path] = []
    with figure_style():
        for what, figure in pictures.items():
            slug = f"{recipe.name.replace('/', '-')}-{what}"
            paths += save(render(figure, slug, f"The {what} of {recipe.name}", formats), out)
    return paths


def _parse_layers(option: str | None, shapes: dict[str, tuple[int, int, int]]) -> list[str]:
    if option is None:
        return [default_layer(shapes)]
    if option == "all":
        return spatial_layers(shapes)
    return [name.strip() for name in option.split(",")]


def _target_classes(
    predictor: Predictor, labels: np.ndarray, predicted: np.ndarray, target: str
) -> np.ndarray:
    """Return the class numbers (N,) that the images' maps are for. Raises UserError."""
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


def _write_index(directory: Path, predictor: Predictor, entries: dict[str, dict[str, Any]]) -> None:
    """Write which figures the folder holds, for reports; delete figures of other weights."""
    weights = {"epoch": predictor.epoch, "step": predictor.step}
    old_weights, figures = read_index(directory)
    if old_weights != weights:
        # only what our index lists: the folder may have other files
        for kind, suffix in product(figures.keys() & set(KINDS) - entries.keys(), FORMATS):
            (directory / f"{kind}.{suffix}").unlink(missing_ok=True)
        figures = {}
    write_json(directory / INDEX, {**weights, "figures": figures | entries})
