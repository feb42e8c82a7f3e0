"""An image on a run's network: the same numbers as by hand, and neighbours from the cache alone."""

import json
import shutil

import numpy as np
import pytest
import torch
from broken_uploads import encode
from PIL import Image

from cifarlab.dashboard import image_prediction
from cifarlab.dashboard.image_prediction import Network, predict_image
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import training_subsets
from cifarlab.explain.maps import class_activation_maps
from cifarlab.explain.tiles import overlay_heatmap
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import ClassProbabilities
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import CheckpointError, DataError


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("something was downloaded")

    monkeypatch.setattr("cifarlab.data.paths.download_archive", refuse)


def picture(value: int = 128) -> bytes:
    draw = np.random.default_rng(value).integers(0, 256, (8, 8), np.uint8)
    return encode(Image.fromarray(draw), "PNG")


def test_the_likeliest_classes_are_the_softmax_of_the_network(finished):
    tried = Network(finished.path).predict_image(picture())
    predictor = Predictor.load(finished.weights("last"))
    temperature = finished.result()["temperature"]["value"]
    probabilities = (predictor.logits(tried.image[None])[0].double() / temperature).softmax(0)
    likeliest = [probability for _, probability in tried.top_classes]
    assert likeliest == pytest.approx(sorted(probabilities.tolist(), reverse=True)[:5], rel=1e-12)
    assert tried.top_classes[0][0] == predictor.classes[int(probabilities.argmax())]
    assert tried.temperature == temperature


def test_a_fitted_temperature_calibrates(copied):
    result = copied.result()
    copied.write_result({**result, "temperature": None})
    plain = Network(copied.path).predict_image(picture())
    assert plain.temperature is None
    copied.write_result({**result, "temperature": {"value": 2.5}})
    warm = Network(copied.path).predict_image(picture())
    logits = Predictor.load(copied.weights("last")).logits(warm.image[None])[0].double()
    assert warm.temperature == 2.5
    assert warm.top_classes[0][1] == pytest.approx(float((logits / 2.5).softmax(0).max()))
    assert warm.top_classes[0][1] < plain.top_classes[0][1]


def test_maps_are_for_the_likeliest_class_though_one_view_alone_says_another(finished):
    network = Network(finished.path)
    image = network.predict_image(picture()).image
    for target in (3, 7):
        probabilities = np.eye(10)[[target]]
        network.run_predictor.predict = lambda inputs, probabilities=probabilities: (
            ClassProbabilities(inputs.ids, (), probabilities, None)
        )
        pictures = {item.title: item.images[0] for item in network.predict_image(picture()).maps}
        maps = class_activation_maps(
            network.predictor, image[None], list(pictures), np.array([target])
        )
        for layer, heat in maps.items():
            assert (pictures[layer] == overlay_heatmap(image, heat[0])).all()


@pytest.mark.parametrize("value", [0, -1, None, "hot", float("nan")])
def test_a_temperature_that_is_none_is_not_used(copied, value):
    text = json.dumps({**copied.result(), "temperature": {"value": value}})
    copied.result_file.write_text(text)
    assert Network(copied.path).predict_image(picture()).temperature is None


def test_neighbours_are_the_nearest_by_cosine_of_the_last_features(finished):
    network = Network(finished.path)
    tried = network.predict_image(picture())
    recipe = finished.recipe()
    train, _ = training_subsets(open_dataset("digits"), recipe.data)

    def features(image: np.ndarray) -> np.ndarray:
        body = network.predictor.classifier.body
        inputs = []
        handle = body.head.register_forward_pre_hook(lambda _m, x: inputs.append(x[0]))
        with torch.no_grad():
            network.predictor.logits(image[None])
        handle.remove()
        return inputs[0][0].numpy().astype(np.float64)

    mine = features(tried.image)
    distances = {}
    for index in train.indices:
        other = features(train.images[index])
        norm = np.linalg.norm(mine) * np.linalg.norm(other)
        distances[int(index)] = 1 - mine @ other / norm
    nearest = sorted(distances, key=distances.__getitem__)[: len(tried.neighbors)]
    assert [n.index for n in tried.neighbors] == nearest
    assert [n.distance for n in tried.neighbors] == pytest.approx(
        [distances[index] for index in nearest], abs=1e-5
    )
    first = tried.neighbors[0]
    assert (first.image == train.images[first.index]).all()
    assert first.label == str(train.labels[first.index])
    assert first.name == train.names[first.index] == f"index {first.index}"


def test_a_training_image_is_its_own_nearest(finished):
    train, _ = training_subsets(open_dataset("digits"), finished.recipe().data)
    index = int(train.indices[5])
    blob = encode(Image.fromarray(train.images[index][..., 0]), "PNG")
    tried = Network(finished.path).predict_image(blob)
    assert tried.neighbors[0].index == index
    assert tried.neighbors[0].distance == pytest.approx(0, abs=1e-5)


def test_without_the_cache_it_says_so_and_fetches_nothing(copied, monkeypatch, tmp_path):
    monkeypatch.setenv("CIFARLAB_CACHE", str(tmp_path / "none"))
    for source in ("digits", "cifar10"):
        text = copied.recipe_file.read_text().replace("source: digits", f"source: {source}")
        copied.recipe_file.write_text(text)
        tried = Network(copied.path).predict_image(picture())
        assert tried.neighbors == [] and "not in this machine's cache" in tried.neighbors_note
    assert not (tmp_path / "none").exists()


def test_other_images_than_the_runs_are_no_neighbours(copied):
    copied.write_provenance({**copied.provenance(), "data": {"fingerprint": "other"}})
    tried = Network(copied.path).predict_image(picture())
    assert tried.neighbors == [] and "not those" in tried.neighbors_note


def test_many_training_images_are_thinned_evenly(finished, monkeypatch):
    monkeypatch.setattr(image_prediction, "_GALLERY", 100)
    gallery = Network(finished.path).gallery
    assert len(gallery.subset) == len(gallery.features) == 100
    assert "Among 100 of its 1,294 training images" in gallery.note


def test_trying_changes_nothing_in_the_run(copied):
    def state() -> dict[str, int]:
        return {str(p): p.stat().st_mtime_ns for p in copied.path.rglob("*")}

    with copied.lock():  # as a run in training has it
        before = state()
        Network(copied.path).predict_image(picture())
        assert state() == before


def test_broken_uploads_and_runs_say_what_is_wrong(copied):
    with pytest.raises(DataError, match=r"cat\.png"):
        Network(copied.path).predict_image(b"no image", "cat.png")
    copied.weights("last").write_bytes(b"torn")
    with pytest.raises(CheckpointError):
        Network(copied.path)


def test_a_network_is_kept_until_its_run_changes(copied, monkeypatch):
    loaded, real = [], image_prediction.Network
    monkeypatch.setattr(image_prediction, "Network", lambda path: loaded.append(path) or real(path))
    for _ in range(3):
        predict_image(copied.path, picture(), "a")
    assert len(loaded) == 1
    shutil.copystat(copied.recipe_file, copied.weights("last"))  # another time of change
    predict_image(copied.path, picture(), "a")
    assert len(loaded) == 2


def test_few_networks_are_kept(copied, finished, tmp_path, monkeypatch):
    loaded, real = [], image_prediction.Network
    monkeypatch.setattr(image_prediction, "Network", lambda path: loaded.append(path) or real(path))
    folders = [copied.path, finished.path, tmp_path / "third"]
    shutil.copytree(finished.path, folders[2])
    for path in (*folders, folders[2], folders[1], folders[0]):
        predict_image(path, picture(), "a")
    assert loaded == [*folders, folders[0]]


def test_features_leave_no_hook(finished):
    network = Network(finished.path)
    network.predict_image(picture())
    assert not [m for m in network.predictor.classifier.modules() if m._forward_pre_hooks]
    assert isinstance(network.folder, RunFolder)
