"""Trying an image on a run's network: pure but for reading the run and the data's cache."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.dashboard.index import stamps
from cifarlab.dashboard.maps import ActivationMap, activation_maps
from cifarlab.data.dataset import Subset
from cifarlab.data.opening import open_cached_data
from cifarlab.evaluation.features import features, nearest_neighbors
from cifarlab.inference.inputs import Inputs, decode_image
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import read_runs
from cifarlab.system.errors import CifarlabError

UPLOAD_PIXELS = 2**24  # more than a phone's photo has; some 300 MB while it is decoded
LIKELIEST, NEIGHBOURS = 5, 8
_GALLERY = 2000  # training images, evenly spread, whose features are compared
_KEPT = 2  # networks


@dataclass(frozen=True)
class Neighbour:
    """A training image uint8 (H, W, C), its class, index in the split, name, cosine distance."""

    image: np.ndarray
    label: str
    index: int
    name: str
    distance: float


@dataclass(frozen=True)
class TriedImage:
    """What a network says of an image.

    ``image`` is what it saw, uint8 (H, W, C); ``likeliest`` are classes with probabilities, the
    likeliest first, at ``temperature`` where one was fitted; ``neighbours_note`` says which
    training images were looked at, or why none.
    """

    image: np.ndarray
    likeliest: list[tuple[str, float]]
    temperature: float | None
    views: int
    maps: list[ActivationMap]
    neighbours: list[Neighbour]
    neighbours_note: str


class Gallery(NamedTuple):
    """Training images of a run and their features float32 (n, F); ``note`` on what they are."""

    subset: Subset | None
    features: np.ndarray
    note: str


class Network:
    """A run's measured network, ready to predict; its gallery is computed when first needed."""

    def __init__(self, path: Path) -> None:
        """Raises RunFolderError, RecipeError and CheckpointError."""
        self.run = read_runs([path], predictions=False)[0]
        self.recipe: Recipe = self.run.recipe
        self.folder = RunFolder(path)
        fits = self.recipe.data.images.resize_mode != "error"
        self.run_predictor = RunPredictor(self.folder, None if fits else "crop")
        self.predictor = self.run_predictor.predictor
        self._gallery: Gallery | None = None

    def predict_image(self, blob: bytes, name: str = "the image") -> TriedImage:
        """Predict one file's image. Raises DataError for one that can't be decoded."""
        run_predictor, classes = self.run_predictor, self.predictor.classes
        image = decode_image(blob, name, run_predictor.policy, UPLOAD_PIXELS)
        probabilities = run_predictor.predict(Inputs([name], image[None])).probabilities[0]
        order = np.argsort(-probabilities, kind="stable")[:LIKELIEST]
        gallery = self.gallery()
        return TriedImage(
            image=image,
            likeliest=[(classes[index], float(probabilities[index])) for index in order],
            temperature=run_predictor.temperature,
            views=run_predictor.evaluation.tta_views,
            maps=activation_maps(self.predictor, image, int(order[0])),
            neighbours=self._neighbours(image, gallery),
            neighbours_note=gallery.note,
        )

    def gallery(self) -> Gallery:
        """Return the training images that an image is compared with, from the data's cache."""
        if self._gallery is None:
            self._gallery = _gallery(self.folder, self.recipe, self.predictor)
        return self._gallery

    def _neighbours(self, image: np.ndarray, gallery: Gallery) -> list[Neighbour]:
        subset = gallery.subset
        if subset is None:
            return []
        image_features = features(self.predictor, image[None])[0]
        nearest_indices, distances = nearest_neighbors(image_features, gallery.features, NEIGHBOURS)
        return [
            Neighbour(
                np.array(subset.images[index]),
                self.predictor.classes[subset.labels[index]],
                int(index),
                subset.names[index],
                float(distance),
            )
            for index, distance in zip(subset.indices[nearest_indices], distances, strict=True)
        ]


def _gallery(folder: RunFolder, recipe: Recipe, predictor: Predictor) -> Gallery:
    nothing = np.zeros((0, 0), np.float32)
    data = recipe.data
    try:
        opened = open_cached_data(data)
        if opened is None:
            why = f"the training images of {data.source} are not in this machine's cache"
            return Gallery(None, nothing, f"No neighbours: {why}.")
        folder.require_same_data(opened.dataset.fingerprint)
        train = opened.training
    except CifarlabError as error:
        return Gallery(None, nothing, f"No neighbours: {error.what}.")
    step = -(-len(train) // _GALLERY)
    subset = replace(train, indices=train.indices[::step])
    note = f"Among {len(subset):,} of its {len(train):,} training images, from the data's cache."
    return Gallery(subset, features(predictor, subset.images, subset.indices), note)


class NetworkCache:
    """The networks tried last; one thread at a time, so that memory stays bounded."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Network] = OrderedDict()
        self._turn = threading.Lock()

    def predict_image(self, path: Path, blob: bytes, name: str) -> TriedImage:
        """Return what the run at ``path`` says of a file. Raises as ``Network`` does."""
        with self._turn:
            key = (path, *stamps(path), _changed(path))
            network = self._kept.pop(key, None) or Network(path)
            self._kept[key] = network
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return network.predict_image(blob, name)


def _changed(path: Path) -> tuple[int, ...]:
    files = sorted((path / "checkpoints").glob("*.safetensors"))
    return tuple(file.stat().st_mtime_ns for file in files)
