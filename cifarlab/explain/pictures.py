"""The figures of one run, made from its network and some images, each with a caption."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from torch import nn

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
from cifarlab.explain.tiles import frame_tile, make_tile, overlay_heatmap
from cifarlab.inference.predictor import Predictor
from cifarlab.models.normalizer_free import ScaledConv2d
from cifarlab.models.whitening import Whitening
from cifarlab.plots.draw import draw
from cifarlab.plots.grid import Cell, make_grid
from cifarlab.plots.spec import WIDE, Axis, Marks, Panel, Plot, Rule, label
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder

_MAX_FILTERS = 64
_MAX_CHANNELS = 10  # of each layer, in the figure of features
FigureWithCaption = tuple[Figure, str]
NamedFigure = tuple[str, Figure, str]


@dataclass(frozen=True)
class RunFigures:
    """All figures of one call of ``explain_run``.

    ``layers`` are those of the maps; the images of ``image_set`` have ``probabilities`` (N, K), and
    their maps are for the classes ``targets`` (N,).
    """

    folder: RunFolder
    recipe: Recipe
    predictor: Predictor
    layers: list[str]
    image_set: ImageSet
    probabilities: np.ndarray
    targets: np.ndarray

    def draw(self, prefix: str, check: RandomizationCheck | None) -> Iterator[NamedFigure]:
        """Draw all figures; names begin with ``prefix``. With one, only figures of the images."""
        mistakes = None if prefix else select_mistakes(self.folder)
        yield f"{prefix}maps", *self._maps()
        if mistakes:
            yield "mistakes", *self._mistakes(*mistakes)
        yield f"{prefix}features", *self._features()
        if check:
            yield f"{prefix}sanity_check", *self._sanity_check(check)
        if not prefix:
            yield from self._filters()
            yield "architecture", *self._architecture()

    def _maps(self) -> FigureWithCaption:
        images, names = self.image_set.images, ", ".join(self.layers)
        maps = class_activation_maps(self.predictor, images, self.layers, self.targets)
        cells, single = [], len(self.layers) == 1
        for n, image in enumerate(images):
            heats = [overlay_heatmap(image, maps[layer][n]) for layer in self.layers]
            texts = [self._cell_text(n), *([] if single else self.layers)]
            cells.append(Cell([make_tile(image), *heats], texts))
        columns, scope, max_side = (5, f"layer {names}", 1.4) if single else (1, "by layer", 0.85)
        grid = make_grid(cells, columns, f"{self._title()}, {scope}", max_side=max_side)
        return draw(grid), (
            f"Class-activation maps (Grad-CAM) of {names} after epoch {self.predictor.epoch}: "
            "bright is what speaks for the class named over each image, beside its probability."
        )

    def _features(self) -> FigureWithCaption:
        """Draw one image's feature maps by layer, those channels with the largest mean."""
        image, name = self.image_set.images[0], self.image_set.names[0]
        cells, names = [Cell([make_tile(image)])], ["image"]
        layers = list(map_shapes(self.predictor))
        for layer, maps in feature_maps(self.predictor, image[None], layers).items():
            channels, (count, height, width) = maps[0], maps[0].shape
            low, high = channels.min((1, 2), keepdims=True), channels.max((1, 2), keepdims=True)
            grey = (channels - low) / np.where(high > low, high - low, 1)
            pixels = np.round(255 * grey).astype(np.uint8)[..., None]
            largest = np.argsort(-np.abs(channels).mean((1, 2)), kind="stable")[:_MAX_CHANNELS]
            cells.append(Cell([frame_tile(pixels[k]) for k in largest], list(map(str, largest))))
            names.append(f"{layer}\n{count} × {height} × {width}")
        title = f"{self._title()}: {label(name, 40, end=True)}"
        return draw(make_grid(cells, 1, title, row_names=names)), (
            f"The way of {name} through the network: of each layer the channels with the largest "
            "mean, their numbers over them; each has a grey scale of its own."
        )

    def _filters(self) -> Iterator[NamedFigure]:
        """Draw the first convolution's filters, if any, in colour where it reads three channels."""
        layers = self.predictor.classifier.body.named_modules()
        convolutions = [layer for layer in layers if isinstance(layer[1], nn.Conv2d | Whitening)]
        if not convolutions:
            return
        name, module = convolutions[0]
        is_scaled = isinstance(module, ScaledConv2d)
        weight = module.standardized_weight() if is_scaled else module.weight
        kernels = weight.detach().float().cpu()[:_MAX_FILTERS].permute(0, 2, 3, 1).numpy()
        if kernels.shape[-1] not in (1, 3):  # it reads another layer's output
            kernels = kernels.mean(-1, keepdims=True)
        scale = np.abs(kernels).max((1, 2, 3), keepdims=True)
        pixels = np.round(127.5 * (1 + kernels / np.maximum(scale, 1e-12))).astype(np.uint8)
        cells = [Cell([frame_tile(kernel)]) for kernel in pixels]
        count, channels, side, _ = weight.shape
        limit = "" if len(kernels) == count else f", the first {len(kernels)}"
        depth = f"{channels} channel{'' if channels == 1 else 's'}"
        text = f"{name}: {count} filters of {side} × {side} pixels, {depth}{limit}"
        caption = f"The first layer's filters after epoch {self.predictor.epoch}: {text}."
        yield "filters", draw(make_grid(cells, 16, text)), caption

    def _architecture(self) -> FigureWithCaption:
        predictor = self.predictor
        summary = architecture(self.recipe.model, predictor.image_shape, len(predictor.classes))
        return draw_architecture(summary, self.recipe.name), (
            f"The network: {summary.parameters:,} trained parameters, {summary.multiply_adds:,} "
            "multiply-adds per image. The lines under the numbers are fractions of the whole."
        )

    def _mistakes(self, mistakes: ImageSet, predicted: np.ndarray) -> FigureWithCaption:
        name = default_layer(map_shapes(self.predictor), prefer_fine=True)
        sides = [
            class_activation_maps(self.predictor, mistakes.images, [name], target)[name]
            for target in (predicted, mistakes.labels)
        ]
        cells = []
        for n, image in enumerate(mistakes.images):
            heats = [overlay_heatmap(image, side[n]) for side in sides]
            names = [label(self._class(k[n]), 14) for k in (predicted, mistakes.labels)]
            text = f"{', not '.join(names)}\n{label(mistakes.names[n], 34, end=True)}"
            cells.append(Cell([make_tile(image), *heats], [text]))
        return draw(make_grid(cells, 3, f"{self._title()}, layer {name}")), (
            "The worst mistakes: the image, what spoke for the class that was predicted, and what "
            f"spoke for the true one (Grad-CAM of {name})."
        )

    def _sanity_check(self, check: RandomizationCheck) -> FigureWithCaption:
        """Draw some of the maps, and below them the correlations by the number of random layers."""
        images, count = self.image_set.images, len(check.randomized)
        steps = np.unique(np.linspace(0, count, min(count + 1, 9)).astype(int))
        texts, cells = ["image", "trained", *map(str, steps[1:])], []
        for n, image in enumerate(images[:3]):
            heats = [overlay_heatmap(image, check.maps[k, n].clip(min=0)) for k in steps]
            cells.append(Cell([make_tile(image), *heats], texts))
        grid = make_grid(cells, 1, f"{self._title()}, layer {check.layer}")
        low, middle, high = np.quantile(check.correlations, (0.25, 0.5, 0.75), axis=1)
        ends = np.stack([low, high])
        line = Marks(x=range(count + 1), y=middle, width=1.5, marker="o", ends=ends)
        x_label = f"layers that lost their weights, from {label(check.randomized[0])} on"
        panel = Panel(
            [Rule(0, flat=True), line],
            Axis(x_label, (-0.3, count + 0.3), integer=True),
            Axis("rank correlation", (-1.05, 1.05)),
        )
        heights, panels = [grid.height, 2.0], [*grid.panels, panel]
        return draw(Plot(panels, WIDE, sum(heights), heights=heights)), (
            "Do the maps depend on what was learned (Adebayo et al. 2018)? Layers lose their "
            f"weights one after the other, from the output on. {check.verdict} Median and "
            f"quartiles over {len(images)} images."
        )

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return the ``rows`` of ``Explanation``, one for each image."""
        to_name, columns = self._class, (*self.image_set[1:], self.probabilities, self.targets)
        return [
            (name, to_name(true), to_name(p.argmax()), f"{100 * p.max():.1f} %", to_name(target))
            for name, true, p, target in zip(*columns, strict=True)
        ]

    def notes(self) -> list[str]:
        """Return the layers of the maps, and a warning of those that are coarse."""
        shapes = map_shapes(self.predictor)
        sizes = {name: f"{shapes[name][1]} x {shapes[name][2]}" for name in self.layers}
        notes = [f"layer {name}, map of {size}" for name, size in sizes.items()]
        fine = fine_layers(shapes)
        if coarse := [f"{name} has {size}" for name, size in sizes.items() if name not in fine]:
            warning = f"warning: a map of {COARSE} x {COARSE} or less says little of where"
            hint = f"; for a finer map: --layers {fine[-1]}" if fine else ""
            notes.append(f"{warning}: {', '.join(coarse)}{hint}")
        return notes

    def _title(self) -> str:
        data = self.folder.provenance().get("data", {}).get("name", str(self.recipe.data.source))
        names = dict.fromkeys((label(self.folder.path.resolve().name), label(data, 40)))
        return f"{', '.join(names)}, epoch {self.predictor.epoch}"

    def _class(self, number: int) -> str:
        return self.predictor.classes[number] if number >= 0 else ""

    def _cell_text(self, n: int) -> str:
        """Return the text over an image: the map's class, its probability, and the true class."""
        target, true = self.targets[n], self._class(self.image_set.labels[n])
        second_line = f"true: {label(true, 16)}" if true else self.image_set.names[n]
        percent = f"{100 * self.probabilities[n, target]:.1f} %"
        return f"{label(self._class(target), 16)}: {percent}\n{label(second_line, 24, end=True)}"
