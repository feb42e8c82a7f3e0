"""The figures of one run: made from its network and some images, each with its words."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from cifarlab.explain import drawing, figures
from cifarlab.explain.image_selection import Shown, mistakes
from cifarlab.explain.maps import (
    COARSE,
    class_activation_maps,
    feature_maps,
    fine_layer,
    map_shapes,
)
from cifarlab.explain.sanity import Cascade
from cifarlab.explain.structure import architecture
from cifarlab.inference.inputs import Inputs
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.plots.style import label
from cifarlab.recipes.schema import Recipe
from cifarlab.runs.folder import RunFolder


@dataclass(frozen=True)
class Told:
    """A figure with the words that a page shows under it."""

    slug: str
    figure: Figure
    caption: str


@dataclass(frozen=True)
class Seen:
    """Images with what the network says of them: predicted classes, probabilities (N, K)."""

    shown: Shown
    predicted: np.ndarray
    shares: np.ndarray


@dataclass(frozen=True)
class Pictures:
    """What the figures of one call share."""

    folder: RunFolder
    recipe: Recipe
    predictor: Predictor
    epoch: int
    layers: list[str]
    seen: Seen
    targets: np.ndarray

    def told(self, prefix: str, checked: Cascade | None) -> Iterator[Told]:
        """All figures, their names behind ``prefix``; with one, those of the images alone."""
        shapes = map_shapes(self.predictor)
        yield self._maps(f"{prefix}maps")
        wrong = None if prefix else mistakes(self.folder)
        if wrong is not None:
            yield self._mistakes(*wrong)
        yield self._features(f"{prefix}features", list(shapes))
        if checked is not None:
            yield self._randomised(f"{prefix}randomised", checked)
        if not prefix:
            yield self._filters()
            yield self._architecture()

    def _maps(self, slug: str) -> Told:
        shown, names = self.seen.shown, ", ".join(self.layers)
        maps = class_activation_maps(self.predictor, shown.images, self.layers, self.targets)
        rows = []
        for n, (image, words) in enumerate(zip(shown.images, self._words(), strict=True)):
            heats = [figures.heated(image, maps[layer][n]) for layer in self.layers]
            rows.append((figures.tile(image), heats, words))
        if len(self.layers) == 1:
            cells = [figures.Cell(figures.beside(i, *heats), words) for i, heats, words in rows]
            board = figures.board(figures.in_rows(cells, 5), f"{self._title()}, layer {names}")
        else:
            strips = [
                [
                    figures.Cell(image, words),
                    *(figures.Cell(*cell) for cell in zip(heats, self.layers, strict=True)),
                ]
                for image, heats, words in rows
            ]
            board = figures.board(strips, f"{self._title()}, by layer", largest=0.85)
        return Told(
            slug,
            board,
            f"Class-activation maps (Grad-CAM) of {names} after epoch {self.epoch}: bright is what "
            "speaks for the class named over each image, beside its probability.",
        )

    def _features(self, slug: str, layers: list[str]) -> Told:
        image, name = self.seen.shown.images[0], self.seen.shown.names[0]
        maps = feature_maps(self.predictor, image[None], layers)
        first = {layer: channels[0] for layer, channels in maps.items()}
        return Told(
            slug,
            figures.features(image, first, f"{self._title()}: {label(name, 40, end=True)}"),
            f"The way of {name} through the network: of each layer the channels with the largest "
            "mean, their numbers over them; each has a grey scale of its own.",
        )

    def _filters(self) -> Told:
        figure, words = figures.filters(self.predictor.classifier.body)
        return Told(
            "filters", figure, f"The first layer's filters after epoch {self.epoch}: {words}."
        )

    def _architecture(self) -> Told:
        built = architecture(
            self.recipe.model, self.predictor.image_shape, len(self.predictor.classes)
        )
        return Told(
            "architecture",
            drawing.draw(built, self.recipe.name),
            f"The network: {built.parameters:,} trained parameters, {built.multiply_adds:,} "
            "multiply-adds per image. The lines under the numbers are shares of the whole.",
        )

    def _mistakes(self, wrong: Shown, predicted: np.ndarray) -> Told:
        name = fine_layer(map_shapes(self.predictor))
        sides = [
            class_activation_maps(self.predictor, wrong.images, [name], wanted)[name]
            for wanted in (predicted, wrong.labels)
        ]
        cells = []
        for n, image in enumerate(wrong.images):
            heats = [figures.heated(image, side[n]) for side in sides]
            said, true = (label(self._class(k[n]), 14) for k in (predicted, wrong.labels))
            pixels = figures.beside(figures.tile(image), *heats)
            cells.append(
                figures.Cell(pixels, f"{said}, not {true}\n{label(wrong.names[n], 34, end=True)}")
            )
        return Told(
            "mistakes",
            figures.board(figures.in_rows(cells, 3), f"{self._title()}, layer {name}"),
            "The worst mistakes: the image, what spoke for the class that was predicted, and what "
            f"spoke for the true one (Grad-CAM of {name}).",
        )

    def _randomised(self, slug: str, checked: Cascade) -> Told:
        images = self.seen.shown.images
        return Told(
            slug,
            figures.randomisation(images, checked, f"{self._title()}, layer {checked.layer}"),
            "Do the maps depend on what was learned (Adebayo et al. 2018)? Layers lose their "
            f"weights one after the other, from the output on. {checked.verdict} Median and "
            f"quartiles over {len(images)} images.",
        )

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """A line per image."""
        seen = self.seen
        return [
            (
                name,
                self._class(seen.shown.labels[n]),
                self._class(seen.predicted[n]),
                f"{100 * seen.shares[n, seen.predicted[n]]:.1f} %",
                self._class(self.targets[n]),
            )
            for n, name in enumerate(seen.shown.names)
        ]

    def notes(self) -> list[str]:
        """Which layers were looked at, and which of them are too coarse to say much."""
        shapes = map_shapes(self.predictor)
        sizes = {name: f"{shapes[name][1]} x {shapes[name][2]}" for name in self.layers}
        told = [f"layer {name}, map of {size}" for name, size in sizes.items()]
        coarse = [name for name in self.layers if min(shapes[name][1:]) <= COARSE]
        finer = [name for name in shapes if min(shapes[name][1:]) > COARSE]
        if coarse:
            where = f"; for a finer map: --layers {finer[-1]}" if finer else ""
            told.append(
                f"warning: a map of {COARSE} x {COARSE} or less says little of where: "
                f"{', '.join(f'{name} has {sizes[name]}' for name in coarse)}{where}"
            )
        return told

    def _title(self) -> str:
        data = self.folder.provenance().get("data", {}).get("name", self.recipe.data.source)
        names = dict.fromkeys((label(self.folder.path.resolve().name), label(data, 40)))
        return f"{', '.join(names)}, epoch {self.epoch}"

    def _class(self, number: int) -> str:
        return self.predictor.classes[number] if number >= 0 else ""

    def _words(self) -> Iterator[str]:
        """Over each image: the class that the map is for and its probability, and the true one."""
        seen = self.seen
        for n, wanted in enumerate(self.targets):
            true = seen.shown.labels[n]
            under = f"true: {label(self._class(true), 16)}" if true >= 0 else seen.shown.names[n]
            share = f"{100 * seen.shares[n, wanted]:.1f} %"
            yield f"{label(self._class(wanted), 16)}: {share}\n{label(under, 24, end=True)}"


def seen_by(oracle: RunPredictor, shown: Shown) -> Seen:
    """What the network says of images. Raises DataError for images of another kind."""
    shares = oracle.answers(Inputs(list(shown.names), shown.images)).shares
    return Seen(shown, shares.argmax(1), shares)
