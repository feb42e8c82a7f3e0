"""Predict an image with a run's network; it reads the run and the data's cache, nothing else."""

import threading
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.data.dataset import Subset
from cifarlab.data.opening import open_cached_data
from cifarlab.evaluation.features import features, nearest_neighbors
from cifarlab.explain import maps, tiles
from cifarlab.inference.inputs import Inputs, decode_image
from cifarlab.inference.run_predictor import RunPredictor
from cifarlab.plots.images import Item
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import file_stamp, run_stamps
from cifarlab.system.errors import CifarlabError

UPLOAD_PIXELS = 2**24  # more than a phone's photo has; some 300 MB while it is decoded
N_CLASSES, N_NEIGHBORS = 5, 8
_GALLERY = 2000  # training images, evenly spread, whose features are compared
_MAX_NETWORKS = 2  # networks
_LOCK = threading.Lock()


@dataclass(frozen=True)
class Neighbor:
    """A training image uint8 (H, W, C), its class, index in the split, name, cosine distance."""

    image: np.ndarray
    label: str
    index: int
    name: str
    distance: float


class ImagePrediction(NamedTuple):
    """A network's prediction of an image.

    ``image`` is the network's input, uint8 (H, W, C); ``top_classes`` are (class, probability),
    the likeliest first, at ``temperature`` where one was fitted; ``maps`` are class-activation maps
    over the image by layer; ``neighbors_note`` says which training images were compared with it,
    or why none were.
    """

    image: np.ndarray
    top_classes: list[tuple[str, float]]
    temperature: float | None
    views: int
    maps: list[Item]
    neighbors: list[Neighbor]
    neighbors_note: str


class Gallery(NamedTuple):
    """Training images of a run and their features float32 (N, F); ``note`` describes them."""

    note: str
    subset: Subset | None = None
    features: np.ndarray = np.empty(0)


class Network:
    """The network that a run's result was measured on, with a gallery of its training images."""

    def __init__(self, path: Path) -> None:
        """Load the network. Raises RunFolderError, RecipeError and CheckpointError."""
        self.folder = RunFolder(path)
        self.data = self.folder.recipe().data
        resizes = self.data.images.resize_mode != "error"
        self.run_predictor = RunPredictor(self.folder, None if resizes else "crop")
        self.predictor = self.run_predictor.predictor

    def predict_image(self, blob: bytes, name: str = "the image") -> ImagePrediction:
        """Predict the image in a file's bytes.

        Raises:
            DataError: it can't be decoded
        """
        run_predictor, classes = self.run_predictor, self.predictor.classes
        image = decode_image(blob, name, run_predictor.policy, UPLOAD_PIXELS)
        probabilities = run_predictor.predict(Inputs([name], image[None])).probabilities[0]
        order = np.argsort(-probabilities, kind="stable")[:N_CLASSES]
        return ImagePrediction(
            image=image,
            top_classes=[(classes[index], float(probabilities[index])) for index in order],
            temperature=run_predictor.temperature,
            views=run_predictor.evaluation.tta_views,
            maps=self._activation_maps(image, int(order[0])),
            neighbors=self._nearest_images(image),
            neighbors_note=self.gallery.note,
        )

    def _activation_maps(self, image: np.ndarray, target: int) -> list[Item]:
        """Return the class-activation maps of an image uint8 (H, W, C) for class ``target``."""
        layers = maps.spatial_layers(maps.map_shapes(self.predictor))
        heats = maps.class_activation_maps(self.predictor, image[None], layers, np.array([target]))
        results = []
        for layer, (heat,) in heats.items():
            height, width = heat.shape
            is_coarse = min(height, width) <= maps.COARSE
            warning = f"{height} x {width} pixels: too coarse to say where" if is_coarse else ""
            results.append(Item([tiles.overlay_heatmap(image, heat)], layer, [warning]))
        return results

    def _nearest_images(self, image: np.ndarray) -> list[Neighbor]:
        subset = self.gallery.subset
        if subset is None:
            return []
        image_features = features(self.predictor, image[None])[0]
        positions, distances = nearest_neighbors(image_features, self.gallery.features, N_NEIGHBORS)
        return [
            Neighbor(
                np.array(subset.images[index]),
                self.predictor.classes[subset.labels[index]],
                int(index),
                subset.names[index],
                float(distance),
            )
            for index, distance in zip(subset.indices[positions], distances, strict=True)
        ]

    @cached_property
    def gallery(self) -> Gallery:
        """The training images to compare an image with, from the data's cache."""
        try:
            data = open_cached_data(self.data)
            if data is None:
                what = f"the training images of {self.data.source} are not in this machine's cache"
                return Gallery(f"No neighbours: {what}.")
            self.folder.require_same_data(data.dataset.fingerprint)
            train = data.training
        except CifarlabError as error:
            return Gallery(f"No neighbours: {error.what}.")
        subset = replace(train, indices=train.indices[:: -(-len(train) // _GALLERY)])
        n, total = len(subset), len(train)
        note = f"Among {n:,} of its {total:,} training images, from the data's cache."
        return Gallery(note, subset, features(self.predictor, subset.images, subset.indices))


@lru_cache(maxsize=_MAX_NETWORKS)
def _network(path: Path, stamp: object) -> Network:  # noqa: ARG001  (the cache's key)
    """Return a run's network, from the cache while its files have the same ``stamp``."""
    return Network(path)


def predict_image(path: Path, blob: bytes, name: str) -> ImagePrediction:
    """Predict an image with a run's network, one thread at a time, so that memory is bounded.

    The last networks are cached.

    Args:
        path: the run folder
        blob: the image file's bytes
        name: its name, for messages

    Raises:
        RunFolderError: the run is unfinished or damaged
        RecipeError: its recipe is damaged
        CheckpointError: its weights are damaged
        DataError: the image can't be decoded
    """
    with _LOCK:
        weights = sorted((path / "checkpoints").glob("*.safetensors"))
        stamp = (*run_stamps(path), *map(file_stamp, weights))
        return _network(path, stamp).predict_image(blob, name)
