"""A plug-in file as a user writes one: a source of images, and label noise."""

from typing import Literal

import numpy as np

from cifarlab.data.label_noise import LabelNoiseConfig
from cifarlab.data.sources import Arrays, ArraySourceConfig


def shades(count, classes=3, side=8, channels=1, seed=0):
    """Images whose class is their shade, and labels."""
    draws = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    noise = draws.integers(0, 20, (count, side, side, channels))
    return (noise + 60 * labels[:, None, None, None]).astype(np.uint8), labels


class Shades(ArraySourceConfig):
    """Images whose class is their shade."""

    kind: Literal["made-shades"] = "made-shades"
    count: int = 300
    dtype: str = "uint8"
    highest: int = 2
    names: tuple[str, ...] = ("dark", "grey", "light")

    def read(self) -> Arrays:
        images, labels = shades(self.count)
        labels = np.minimum(labels, self.highest)
        return Arrays(self.names, (images.astype(self.dtype), labels), test=shades(30, seed=1))


class Lazy(LabelNoiseConfig):
    """The first of the images that are trained on are called class 0."""

    kind: Literal["made-lazy"] = "made-lazy"
    count: int = 50

    def flip(self, labels, classes, indices):
        out = labels.copy()
        out[indices[: self.count]] = 0
        return out


class Wild(LabelNoiseConfig):
    """Labels of no class."""

    kind: Literal["made-wild"] = "made-wild"

    def flip(self, labels, classes, indices):
        return labels + classes


class Unread(ArraySourceConfig):
    """A source with a mistake in its code."""

    kind: Literal["made-unread"] = "made-unread"

    def read(self) -> Arrays:
        return {}["images"]


class Nothing(ArraySourceConfig):
    """A source that forgets to return anything."""

    kind: Literal["made-nothing"] = "made-nothing"

    def read(self) -> Arrays:
        pass


class Unflipped(LabelNoiseConfig):
    """Label noise with a mistake in its code."""

    kind: Literal["made-unflipped"] = "made-unflipped"

    def flip(self, labels, classes, indices):
        raise RuntimeError("no\nnoise")
