"""Checks that class-activation maps depend on the weights (Adebayo et al. 2018, arXiv:1810.03292).

Cascading randomisation (section 3.1): from the output to the input, one layer after the other gets
random weights, and the maps must change. A method whose maps stay shows edges, not reasons.
Departures: a weight is drawn from a normal distribution with the mean and standard deviation that
the layer's weights have, so that signals keep their size; maps are compared before Grad-CAM sets to
0 what speaks against the class, since a map of zeros has no ranks.
"""

import copy
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from cifarlab.explain.maps import class_activation_maps, default_layer, map_shapes
from cifarlab.inference.predictor import Predictor
from cifarlab.system.randomness import generator


class RandomizationCheck(NamedTuple):
    """Maps of N images while L layers get random weights, one after the other.

    ``layer`` is the layer of the maps. ``randomized`` are the L layers' names, from the output on.
    ``maps`` are float32 (L + 1, N, h, w), with negative values, the trained network's first.
    ``correlations`` (L + 1, N) are Spearman's rank correlations with the trained network's maps.
    """

    layer: str
    randomized: tuple[str, ...]
    maps: np.ndarray
    correlations: np.ndarray

    @property
    def is_passed(self) -> bool:
        """Return whether maps change: the random network's mean correlation is within 0.5 of 0."""
        return bool(abs(self.correlations[-1].mean()) < 0.5)

    @property
    def verdict(self) -> str:
        """Return the result as a sentence."""
        follow = "follow" if self.is_passed else "hardly follow"
        return (
            f"The maps {follow} the weights: rank correlation {self.correlations[-1].mean():.2f} "
            "with the trained network's once all layers are random."
        )


def randomize_layers(predictor: Predictor, images: np.ndarray, seed: int = 0) -> RandomizationCheck:
    """Randomise a copy of the network layer by layer, and compare its maps.

    Maps are for the classes that the trained network predicts, of the last layer whose map is
    larger than 4 x 4, where there is one (see ``default_layer``).

    Args:
        predictor: the trained network
        images: uint8 (N, H, W, C)
        seed: of the random weights
    """
    clone = replace(predictor, classifier=copy.deepcopy(predictor.classifier))
    layer = default_layer(map_shapes(predictor), prefer_fine=True)
    targets = predictor.logits(images).argmax(1).numpy()

    def compute_maps() -> np.ndarray:
        maps = class_activation_maps(clone, images, [layer], targets, relu_attributions=False)
        return maps[layer]

    names, maps = [], [compute_maps()]
    weight_layers = [
        (name, module)
        for name, module in clone.classifier.body.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
    ]
    for position, (name, module) in enumerate(reversed(weight_layers)):
        _randomize(module, seed, position)
        if module.weight.ndim > 1:  # a normalisation and the layer before it are one step
            names.append(name)
            maps.append(compute_maps())
    correlations = [
        [_rank_correlation(*pair) for pair in zip(maps[0], m, strict=True)] for m in maps
    ]
    return RandomizationCheck(layer, tuple(names), np.stack(maps), np.array(correlations))


@torch.no_grad()
def _randomize(module: nn.Module, seed: int, position: int) -> None:
    draws = generator(seed, "randomised", position)
    for parameter in module.parameters(recurse=False):
        noise = torch.randn(parameter.shape, generator=draws)
        std, mean = torch.std_mean(parameter.float().cpu(), correction=0)
        parameter.copy_(mean + std * noise)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's correlation of two maps (h, w); 0 where one of them is constant."""
    from scipy.stats import spearmanr

    is_constant = np.ptp(first) == 0 or np.ptp(second) == 0
    return 0.0 if is_constant else float(spearmanr(first, second, axis=None).statistic)
