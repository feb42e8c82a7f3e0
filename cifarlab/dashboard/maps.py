"""Class-activation maps of a tried image, as pictures."""

from typing import NamedTuple

import numpy as np

from cifarlab.inference.predictor import Predictor


class ActivationMap(NamedTuple):
    """One layer's map over the image, as a picture uint8 (h, w, 3), and what must be said of it."""

    layer: str
    picture: np.ndarray
    warning: str


def activation_maps(predictor: Predictor, image: np.ndarray, target: int) -> list[ActivationMap]:
    """Return the class-activation maps of an image uint8 (H, W, C) for class ``target``."""
    from cifarlab.explain import figures, maps

    results = []
    layers = maps.spatial_layers(maps.map_shapes(predictor))
    targets = np.array([target])
    for layer, heat in maps.class_activation_maps(predictor, image[None], layers, targets).items():
        height, width = heat.shape[1:]
        coarse = min(height, width) <= maps.COARSE
        warning = f"{height} x {width} pixels: too coarse to say where" if coarse else ""
        results.append(ActivationMap(layer, figures.overlay_heatmap(image, heat[0]), warning))
    return results
