"""The figures of one run: made from its network and some images, each with its words."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cifarlab.explain import drawing, figures
from cifarlab.explain.image_selection import ImageSet, select_mistakes
from cifarlab.explain.maps import (
    COARSE,
    class_activation_maps,
    feature_maps,
    fine_layer,
    map_shapes,
)
from cifarlab.explain.sanity import RandomizationCheck
from cifarlab.explain.structure import architecture
from cifarlab.inference.inputs import Inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.plots.spec import label
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder


@dataclass(frozen=True)
class CaptionedFigure:
    """A figure with the words that a page shows under it."""

    slug: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class ImagePredictions:
    """Images with what the network says of them: predicted classes, probabilities (N, K)."""

    image_set: ImageSet
    predicted: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class RunFigures:
    """All figures of one call."""

    folder: RunFolder
    recipe: Recipe
    predictor: Predictor
    layers: list[str]
    predictions: ImagePredictions
    targets: np.ndarray

    def draw(self, prefix: str, check: RandomizationCheck | None) -> Iterator[CaptionedFigure]:
        """Draw all figures, their names behind ``prefix``; with one, those of the images alone."""
        shapes = map_shapes(self.predictor)
        yield self._maps(f"{prefix}maps")
        wrong_images = None if prefix else select_mistakes(self.folder)
        if wrong_images is not None:
            yield self._mistakes(*wrong_images)
        yield self._features(f"{prefix}features", list(shapes))
        if check is not None:
            yield self._sanity_check(f"{prefix}sanity_check", check)
        if not prefix:
            yield from self._filters()
            yield self._architecture()

    def _maps(self, slug: str) -> CaptionedFigure:
        image_set, names = self.predictions.image_set, ", ".join(self.layers)
        maps = class_activation_maps(self.predictor, image_set.images, self.layers, self.targets)
        rows = []
        for n, (image, text) in enumerate(zip(image_set.images, self._cell_texts(), strict=True)):
            heats = [figures.overlay_heatmap(image, maps[layer][n]) for layer in self.layers]
            rows.append((figures.make_tile(image), heats, text))
        if len(self.layers) == 1:
            cells = [figures.Cell(figures.join_tiles(i, *heats), text) for i, heats, text in rows]
            grid = figures.make_grid(
                figures.split_rows(cells, 5), f"{self._title()}, layer {names}"
            )
        else:
            strips = [
                [
                    figures.Cell(image, text),
                    *(figures.Cell(*cell) for cell in zip(heats, self.layers, strict=True)),
                ]
                for image, heats, text in rows
            ]
            grid = figures.make_grid(strips, f"{self._title()}, by layer", largest=0.85)
        return CaptionedFigure(
            slug,
            grid,
            f"Class-activation maps (Grad-CAM) of {names} after epoch {self.predictor.epoch}: "
            "bright is what speaks for the class named over each image, beside its probability.",
        )

    def _features(self, slug: str, layers: list[str]) -> CaptionedFigure:
        image, name = self.predictions.image_set.images[0], self.predictions.image_set.names[0]
        maps = feature_maps(self.predictor, image[None], layers)
        first = {layer: channels[0] for layer, channels in maps.items()}
        return CaptionedFigure(
            slug,
            figures.draw_features(image, first, f"{self._title()}: {label(name, 40, end=True)}"),
            f"The way of {name} through the network: of each layer the channels with the largest "
            "mean, their numbers over them; each has a grey scale of its own.",
        )

    def _filters(self) -> Iterator[CaptionedFigure]:
        if drawn := figures.draw_filters(self.predictor.classifier.body):
            caption = f"The first layer's filters after epoch {self.predictor.epoch}: {drawn[1]}."
            yield CaptionedFigure("filters", drawn[0], caption)

    def _architecture(self) -> CaptionedFigure:
        summary = architecture(
            self.recipe.model, self.predictor.image_shape, len(self.predictor.classes)
        )
        return CaptionedFigure(
            "architecture",
            drawing.draw_architecture(summary, self.recipe.name),
            f"The network: {summary.parameters:,} trained parameters, {summary.multiply_adds:,} "
            "multiply-adds per image. The lines under the numbers are fractions of the whole.",
        )

    def _mistakes(self, wrong_images: ImageSet, predicted: np.ndarray) -> CaptionedFigure:
        name = fine_layer(map_shapes(self.predictor))
        sides = [
            class_activation_maps(self.predictor, wrong_images.images, [name], target)[name]
            for target in (predicted, wrong_images.labels)
        ]
        cells = []
        for n, image in enumerate(wrong_images.images):
            heats = [figures.overlay_heatmap(image, side[n]) for side in sides]
            predicted_name, true_name = (
                label(self._class(k[n]), 14) for k in (predicted, wrong_images.labels)
            )
            pixels = figures.join_tiles(figures.make_tile(image), *heats)
            name_of_image = label(wrong_images.names[n], 34, end=True)
            text = f"{predicted_name}, not {true_name}\n{name_of_image}"
            cells.append(figures.Cell(pixels, text))
        return CaptionedFigure(
            "mistakes",
            figures.make_grid(figures.split_rows(cells, 3), f"{self._title()}, layer {name}"),
            "The worst mistakes: the image, what spoke for the class that was predicted, and what "
            f"spoke for the true one (Grad-CAM of {name}).",
        )

    def _sanity_check(self, slug: str, check: RandomizationCheck) -> CaptionedFigure:
        images = self.predictions.image_set.images
        return CaptionedFigure(
            slug,
            figures.draw_sanity_check(images, check, f"{self._title()}, layer {check.layer}"),
            "Do the maps depend on what was learned (Adebayo et al. 2018)? Layers lose their "
            f"weights one after the other, from the output on. {check.verdict} Median and "
            f"quartiles over {len(images)} images.",
        )

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """A line per image."""
        predictions = self.predictions
        return [
            (
                name,
                self._class(predictions.image_set.labels[n]),
                self._class(predictions.predicted[n]),
                f"{100 * predictions.probabilities[n, predictions.predicted[n]]:.1f} %",
                self._class(self.targets[n]),
            )
            for n, name in enumerate(predictions.image_set.names)
        ]

    def notes(self) -> list[str]:
        """Which layers were looked at, and which of them are too coarse to say much."""
        shapes = map_shapes(self.predictor)
        sizes = {name: f"{shapes[name][1]} x {shapes[name][2]}" for name in self.layers}
        notes = [f"layer {name}, map of {size}" for name, size in sizes.items()]
        coarse = [name for name in self.layers if min(shapes[name][1:]) <= COARSE]
        finer = [name for name in shapes if min(shapes[name][1:]) > COARSE]
        if coarse:
            where = f"; for a finer map: --layers {finer[-1]}" if finer else ""
            notes.append(
                f"warning: a map of {COARSE} x {COARSE} or less says little of where: "
                f"{', '.join(f'{name} has {sizes[name]}' for name in coarse)}{where}"
            )
        return notes

    def _title(self) -> str:
        data = self.folder.provenance().get("data", {}).get("name", str(self.recipe.data.source))
        names = dict.fromkeys((label(self.folder.path.resolve().name), label(data, 40)))
        return f"{', '.join(names)}, epoch {self.predictor.epoch}"

    def _class(self, number: int) -> str:
        return self.predictor.classes[number] if number >= 0 else ""

    def _cell_texts(self) -> Iterator[str]:
        """Over each image: the class that the map is for and its probability, and the true one."""
        predictions = self.predictions
        for n, target in enumerate(self.targets):
            true_class = predictions.image_set.labels[n]
            under = (
                f"true: {label(self._class(true_class), 16)}"
                if true_class >= 0
                else predictions.image_set.names[n]
            )
            percent = f"{100 * predictions.probabilities[n, target]:.1f} %"
            yield f"{label(self._class(target), 16)}: {percent}\n{label(under, 24, end=True)}"


def predict_images(run_predictor: RunPredictor, image_set: ImageSet) -> ImagePredictions:
    """What the network says of images. Raises DataError for images of another kind."""
    probabilities = run_predictor.predict(
        Inputs(list(image_set.names), image_set.images)
    ).probabilities
    return ImagePredictions(image_set, probabilities.argmax(1), probabilities)
