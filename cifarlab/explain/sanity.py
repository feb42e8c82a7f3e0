"""Do class-activation maps depend on what was learned? (Adebayo et al. 2018, arXiv:1810.03292)

Section 3.1 there, cascading randomisation: from the output to the input one layer after the other
loses what it learned, and the maps must change. A method whose maps stay draws edges, not reasons.
Departures: a weight is drawn from a normal distribution with the mean and standard deviation that
the layer's weights have, so that signals keep their size; maps are compared before Grad-CAM cuts
off what speaks against the class, since a map of zeros has no ranks.
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
    """Maps of N images while L layers lose their weights.

    ``randomized`` are the L layers' names, from the output on. ``maps`` are float32
    (L + 1, N, h, w), signed, the trained network's first; ``correlations`` (L + 1, N) are
    Spearman's rank correlations with those.
    """

    layer: str
    randomized: tuple[str, ...]
    maps: np.ndarray
    correlations: np.ndarray

    @property
    def passed(self) -> bool:
        """Whether maps of a random network are about as unlike as chance: |mean| below 0.5."""
        return bool(abs(self.correlations[-1].mean()) < 0.5)

    @property
    def verdict(self) -> str:
        """The result in words."""
        follow = "follow" if self.passed else "hardly follow"
        return (
            f"The maps {follow} the weights: rank correlation {self.correlations[-1].mean():.2f} "
            "with the trained network's once all layers are random."
        )


def randomize_layers(predictor: Predictor, images: np.ndarray, seed: int = 0) -> RandomizationCheck:
    """Randomise a copy of the network layer by layer, for uint8 images (N, H, W, C).

    The class is the one that the trained network predicts. Looked at is the last layer whose map
    is larger than 4 x 4, where there is one.
    """
    copy_of_predictor = replace(predictor, classifier=copy.deepcopy(predictor.classifier))
    layer = default_layer(map_shapes(predictor), fine=True)
    targets = predictor.logits(images).argmax(1).numpy()

    def maps_of_copy() -> np.ndarray:
        maps = class_activation_maps(copy_of_predictor, images, [layer], targets, signed=True)
        return maps[layer]

    names, maps = [], [maps_of_copy()]
    weighted = [
        (name, module)
        for name, module in copy_of_predictor.classifier.body.named_modules()
        if isinstance(getattr(module, "weight", None), nn.Parameter)
    ]
    for position, (name, module) in enumerate(reversed(weighted)):
        _randomize(module, seed, position)
        if module.weight.ndim > 1:  # a normalisation goes with the layer before it
            names.append(name)
            maps.append(maps_of_copy())
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


def _rank_correlation(first: np.ndarray, later: np.ndarray) -> float:
    """Of two maps (h, w); 0 where one of them is constant."""
    from scipy.stats import spearmanr

    constant = np.ptp(first) == 0 or np.ptp(later) == 0
    return 0.0 if constant else float(spearmanr(first, later, axis=None).statistic)
