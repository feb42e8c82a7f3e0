"""The figures of one run: made from its network and some images, each with its words."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cifarlab.explain import figures
from cifarlab.explain.drawing import draw_architecture
from cifarlab.explain.image_selection import ImageSet, select_mistakes
from cifarlab.explain.maps import (
    COARSE,
    class_activation_maps,
    default_layer,
    feature_maps,
    fine_layers,
    map_shapes,
)
from cifarlab.explain.sanity import RandomizationCheck
from cifarlab.explain.structure import architecture
from cifarlab.inference.predictor import Predictor
from cifarlab.plots.spec import label
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder

Captioned = tuple[Figure, str]  # a figure with the words that a page shows under it


@dataclass(frozen=True)
class RunFigures:
    """All figures of one call: of images with ``probabilities`` (N, K), for ``targets`` (N,)."""

    folder: RunFolder
    recipe: Recipe
    predictor: Predictor
    layers: list[str]
    image_set: ImageSet
    probabilities: np.ndarray
    targets: np.ndarray

    def draw(
        self, given: bool, check: RandomizationCheck | None
    ) -> Iterator[tuple[str, Captioned]]:
        """Draw all figures, by their names; of ``given`` images those of the images alone."""
        prefix = "given-" if given else ""
        yield f"{prefix}maps", self._maps()
        mistakes = None if given else select_mistakes(self.folder)
        if mistakes is not None:
            yield "mistakes", self._mistakes(*mistakes)
        yield f"{prefix}features", self._features()
        if check is not None:
            yield f"{prefix}sanity_check", self._sanity_check(check)
        if given:
            return
        if filters := figures.draw_filters(self.predictor.classifier.body):
            figure, words = filters
            after = f"after epoch {self.predictor.epoch}"
            yield "filters", (figure, f"The first layer's filters {after}: {words}.")
        yield "architecture", self._architecture()

    def _maps(self) -> Captioned:
        images, names = self.image_set.images, ", ".join(self.layers)
        maps = class_activation_maps(self.predictor, images, self.layers, self.targets)
        title, cells = self._title(), []
        for n, image in enumerate(images):
            heats = [figures.overlay_heatmap(image, maps[layer][n]) for layer in self.layers]
            cells.append(figures.Cell([figures.make_tile(image), *heats], self._cell_text(n)))
        if len(self.layers) == 1:
            grid = figures.make_grid(figures.split_rows(cells, 5), f"{title}, layer {names}")
        else:
            strips = [
                [
                    figures.Cell([tile], text)
                    for tile, text in zip(cell.images, (cell.text, *self.layers), strict=True)
                ]
                for cell in cells
            ]
            grid = figures.make_grid(strips, f"{title}, by layer", largest=0.85)
        return grid, (
            f"Class-activation maps (Grad-CAM) of {names} after epoch {self.predictor.epoch}: "
            "bright is what speaks for the class named over each image, beside its probability."
        )

    def _features(self) -> Captioned:
        image, name = self.image_set.images[0], self.image_set.names[0]
        layers = list(map_shapes(self.predictor))
        maps = feature_maps(self.predictor, image[None], layers)
        first = {layer: channels[0] for layer, channels in maps.items()}
        title = f"{self._title()}: {label(name, 40, end=True)}"
        return figures.draw_features(image, first, title), (
            f"The way of {name} through the network: of each layer the channels with the largest "
            "mean, their numbers over them; each has a grey scale of its own."
        )

    def _architecture(self) -> Captioned:
        predictor = self.predictor
        summary = architecture(self.recipe.model, predictor.image_shape, len(predictor.classes))
        return draw_architecture(summary, self.recipe.name), (
            f"The network: {summary.parameters:,} trained parameters, {summary.multiply_adds:,} "
            "multiply-adds per image. The lines under the numbers are fractions of the whole."
        )

    def _mistakes(self, wrong: ImageSet, predicted: np.ndarray) -> Captioned:
        name = default_layer(map_shapes(self.predictor), fine=True)
        sides = [
            class_activation_maps(self.predictor, wrong.images, [name], target)[name]
            for target in (predicted, wrong.labels)
        ]
        cells = []
        for n, image in enumerate(wrong.images):
            heats = [figures.overlay_heatmap(image, side[n]) for side in sides]
            names = [label(self._class(k[n]), 14) for k in (predicted, wrong.labels)]
            text = f"{', not '.join(names)}\n{label(wrong.names[n], 34, end=True)}"
            cells.append(figures.Cell([figures.make_tile(image), *heats], text))
        grid = figures.make_grid(figures.split_rows(cells, 3), f"{self._title()}, layer {name}")
        return grid, (
            "The worst mistakes: the image, what spoke for the class that was predicted, and what "
            f"spoke for the true one (Grad-CAM of {name})."
        )

    def _sanity_check(self, check: RandomizationCheck) -> Captioned:
        images = self.image_set.images
        title = f"{self._title()}, layer {check.layer}"
        return figures.draw_sanity_check(images, check, title), (
            "Do the maps depend on what was learned (Adebayo et al. 2018)? Layers lose their "
            f"weights one after the other, from the output on. {check.verdict} Median and "
            f"quartiles over {len(images)} images."
        )

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """A line per image."""
        return [
            (
                name,
                self._class(self.image_set.labels[n]),
                self._class(row.argmax()),
                f"{100 * row.max():.1f} %",
                self._class(self.targets[n]),
            )
            for n, (name, row) in enumerate(
                zip(self.image_set.names, self.probabilities, strict=True)
            )
        ]

    def notes(self) -> list[str]:
        """Which layers were looked at, and which of them are too coarse to say much."""
        shapes = map_shapes(self.predictor)
        sizes = {name: f"{shapes[name][1]} x {shapes[name][2]}" for name in self.layers}
        notes = [f"layer {name}, map of {size}" for name, size in sizes.items()]
        finer = fine_layers(shapes)
        if coarse := [f"{name} has {size}" for name, size in sizes.items() if name not in finer]:
            where = f"; for a finer map: --layers {finer[-1]}" if finer else ""
            notes.append(
                f"warning: a map of {COARSE} x {COARSE} or less says little of where: "
                f"{', '.join(coarse)}{where}"
            )
        return notes

    def _title(self) -> str:
        data = self.folder.provenance().get("data", {}).get("name", str(self.recipe.data.source))
        names = dict.fromkeys((label(self.folder.path.resolve().name), label(data, 40)))
        return f"{', '.join(names)}, epoch {self.predictor.epoch}"

    def _class(self, number: int) -> str:
        return self.predictor.classes[number] if number >= 0 else ""

    def _cell_text(self, n: int) -> str:
        """Over each image: the class that the map is for and its probability, and the true one."""
        target, true = self.targets[n], self._class(self.image_set.labels[n])
        under = f"true: {label(true, 16)}" if true else self.image_set.names[n]
        percent = f"{100 * self.probabilities[n, target]:.1f} %"
        return f"{label(self._class(target), 16)}: {percent}\n{label(under, 24, end=True)}"
