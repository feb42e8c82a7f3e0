"""Trying an image on a run's network: pure but for reading the run and the data's cache."""

import threading
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.dashboard.index import file_stamp, stamps
from cifarlab.data.dataset import Subset
from cifarlab.data.opening import open_cached_data
from cifarlab.evaluation.features import features, nearest_neighbors
from cifarlab.explain import maps, tiles
from cifarlab.inference.inputs import Inputs, decode_image
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.plots.images import Item
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CifarlabError

UPLOAD_PIXELS = 2**24  # more than a phone's photo has; some 300 MB while it is decoded
LIKELIEST, NEIGHBOURS = 5, 8
_GALLERY = 2000  # training images, evenly spread, whose features are compared
_KEPT = 2  # networks
_TURN = threading.Lock()


@dataclass(frozen=True)
class Neighbour:
    """A training image uint8 (H, W, C), its class, index in the split, name, cosine distance."""

    image: np.ndarray
    label: str
    index: int
    name: str
    distance: float


class TriedImage(NamedTuple):
    """What a network says of an image.

    ``image`` is what it saw, uint8 (H, W, C); ``likeliest`` are classes with probabilities, the
    likeliest first, at ``temperature`` where one was fitted; ``maps`` are class-activation maps
    over the image by layer; ``neighbours_note`` says which training images were looked at, or why
    none.
    """

    image: np.ndarray
    likeliest: list[tuple[str, float]]
    temperature: float | None
    views: int
    maps: list[Item]
    neighbours: list[Neighbour]
    neighbours_note: str


class Gallery(NamedTuple):
    """Training images of a run and their features float32 (n, F); ``note`` on what they are."""

    note: str
    subset: Subset | None = None
    features: np.ndarray = np.empty(0)


class Network:
    """A run's measured network, ready to predict; its gallery is computed when first needed."""

    def __init__(self, path: Path) -> None:
        """Raises RunFolderError, RecipeError and CheckpointError."""
        self.folder = RunFolder(path)
        self.data = self.folder.recipe().data
        fits = self.data.images.resize_mode != "error"
        self.run_predictor = RunPredictor(self.folder, None if fits else "crop")
        self.predictor = self.run_predictor.predictor

    def predict_image(self, blob: bytes, name: str = "the image") -> TriedImage:
        """Predict one file's image. Raises DataError for one that can't be decoded."""
        run_predictor, classes = self.run_predictor, self.predictor.classes
        image = decode_image(blob, name, run_predictor.policy, UPLOAD_PIXELS)
        probabilities = run_predictor.predict(Inputs([name], image[None])).probabilities[0]
        order = np.argsort(-probabilities, kind="stable")[:LIKELIEST]
        return TriedImage(
            image=image,
            likeliest=[(classes[index], float(probabilities[index])) for index in order],
            temperature=run_predictor.temperature,
            views=run_predictor.evaluation.tta_views,
            maps=self._maps(image, int(order[0])),
            neighbours=self._neighbours(image),
            neighbours_note=self.gallery.note,
        )

    def _maps(self, image: np.ndarray, target: int) -> list[Item]:
        """Return the class-activation maps of an image uint8 (H, W, C) for class ``target``."""
        layers = maps.spatial_layers(maps.map_shapes(self.predictor))
        heats = maps.class_activation_maps(self.predictor, image[None], layers, np.array([target]))
        results = []
        for layer, (heat,) in heats.items():
            height, width = heat.shape
            coarse = min(height, width) <= maps.COARSE
            warning = f"{height} x {width} pixels: too coarse to say where" if coarse else ""
            results.append(Item([tiles.overlay_heatmap(image, heat)], layer, [warning]))
        return results

    def _neighbours(self, image: np.ndarray) -> list[Neighbour]:
        subset = self.gallery.subset
        if subset is None:
            return []
        image_features = features(self.predictor, image[None])[0]
        nearest, distances = nearest_neighbors(image_features, self.gallery.features, NEIGHBOURS)
        return [
            Neighbour(
                np.array(subset.images[index]),
                self.predictor.classes[subset.labels[index]],
                int(index),
                subset.names[index],
                float(distance),
            )
            for index, distance in zip(subset.indices[nearest], distances, strict=True)
        ]

    @cached_property
    def gallery(self) -> Gallery:
        """The training images that an image is compared with, from the data's cache."""
        try:
            opened = open_cached_data(self.data)
            if opened is None:
                why = f"the training images of {self.data.source} are not in this machine's cache"
                return Gallery(f"No neighbours: {why}.")
            self.folder.require_same_data(opened.dataset.fingerprint)
            train = opened.training
        except CifarlabError as error:
            return Gallery(f"No neighbours: {error.what}.")
        subset = replace(train, indices=train.indices[:: -(-len(train) // _GALLERY)])
        note = (
            f"Among {len(subset):,} of its {len(train):,} training images, from the data's cache."
        )
        return Gallery(note, subset, features(self.predictor, subset.images, subset.indices))


@lru_cache(maxsize=_KEPT)
def _network(path: Path, stamp: object) -> Network:  # noqa: ARG001  (it is the key)
    """Return a run's network, as long as its files are those of ``stamp``."""
    return Network(path)


def try_image(path: Path, blob: bytes, name: str) -> TriedImage:
    """Return what the run at ``path`` says of a file. Raises as ``Network`` does.

    The networks tried last are kept; one thread at a time, so that memory stays bounded.
    """
    with _TURN:
        weights = sorted((path / "checkpoints").glob("*.safetensors"))
        stamp = (*stamps(path), *map(file_stamp, weights))
        return _network(path, stamp).predict_image(blob, name)
