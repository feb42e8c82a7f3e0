"""The one way to predict: the same after saving and loading, views, indices, refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_predictor import CLASSES, MODEL, SHAPE, images, make_predictor, slow_views

from cifarlab.data.dataset import ImageNames, Subset
from cifarlab.evaluation.measure import CONFIDENT_MISTAKES, MISTAKES, predict
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.system.errors import DataError


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("views", [1, 6])
def test_saved_and_loaded_gives_identical_logits(
    tmp_path: Path, precision: str, views: int
) -> None:
    predictor = make_predictor(precision)
    about = WeightsFile(MODEL, CLASSES, SHAPE, precision, "dataset", 3, 33)
    about.write(tmp_path / "w.safetensors", predictor.classifier)
    loaded = Predictor.load(tmp_path / "w.safetensors")
    assert loaded.classes == CLASSES
    assert loaded.compute.precision == precision
    assert torch.equal(loaded.logits(images(7), views), predictor.logits(images(7), views))
    assert WeightsFile.read(tmp_path / "w.safetensors")[0] == about


def test_a_normalization_by_image_is_stored(tmp_path: Path) -> None:
    predictor = make_predictor()
    by_dataset = predictor.logits(images(7))
    predictor.classifier.by_image = True
    by_image = predictor.logits(images(7))
    assert not torch.allclose(by_image, by_dataset)
    for kind, expected in (("image", by_image), ("dataset", by_dataset)):
        about = WeightsFile(MODEL, CLASSES, SHAPE, "float32", kind, 1, 1)
        about.write(tmp_path / kind, predictor.classifier)
        assert torch.equal(Predictor.load(tmp_path / kind).logits(images(7)), expected)


def test_loading_draws_no_random_number(tmp_path: Path) -> None:
    about = WeightsFile(MODEL, CLASSES, SHAPE, "float32", "dataset", 1, 1)
    about.write(tmp_path / "w", make_predictor().classifier)
    before = torch.get_rng_state()
    Predictor.load(tmp_path / "w")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("views", [1, 2, 6, 10])
def test_views_against_one_image_at_a_time(views: int) -> None:
    predictor, batch = make_predictor(), images(4)
    slow = [
        torch.stack([predictor.logits(view[None])[0] for view in slow_views(image, views)]).mean(0)
        for image in batch
    ]
    torch.testing.assert_close(predictor.logits(batch, views), torch.stack(slow))


def test_views_differ() -> None:
    single, two, six, ten = (make_predictor().logits(images(4), views) for views in (1, 2, 6, 10))
    assert not torch.allclose(single, two)
    assert not torch.allclose(two, six)
    assert not torch.allclose(six, ten)


def test_indices_pick_without_changing_anything() -> None:
    predictor, batch = make_predictor(), images(20)
    indices = np.array([3, 4, 19])
    torch.testing.assert_close(
        predictor.logits(batch, 1, indices), predictor.logits(batch)[indices]
    )


def test_numpy_and_tensor_images_give_the_same() -> None:
    predictor, batch = make_predictor(), images(5)
    assert torch.equal(predictor.logits(batch), predictor.logits(torch.from_numpy(batch)))


def test_more_images_than_one_batch() -> None:
    predictor, batch = make_predictor(), images(1203)
    logits = predictor.logits(batch)
    assert logits.shape == (1203, 3)
    torch.testing.assert_close(logits[499:502], predictor.logits(batch[499:502]))


def test_the_mode_is_put_back() -> None:
    predictor = make_predictor()
    predictor.classifier.train()
    statistics = {k: v.clone() for k, v in predictor.classifier.state_dict().items()}
    predictor.logits(images(4))
    assert predictor.classifier.training
    after = predictor.classifier.state_dict()
    assert all(torch.equal(after[name], value) for name, value in statistics.items())


@pytest.mark.parametrize(
    "array",
    [
        images(2).astype(np.float32),
        images(2).astype(np.int64),
        images(2)[0],
        images(2).reshape(2, -1),
    ],
    ids=["float", "int64", "one image", "flat"],
)
def test_other_types_and_ranks_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DataError, match="can't be read"):
        make_predictor().logits(array)


@pytest.mark.parametrize("shape", [(2, 9, 8, 1), (2, 9, 8, 4), (2, 3, 9, 8), (2, 32, 32, 3)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Grey images would broadcast, larger ones would fit: logits of no meaning, without a word."""
    with pytest.raises(DataError):
        make_predictor().logits(np.zeros(shape, dtype=np.uint8))


def test_no_images_give_no_logits() -> None:
    assert make_predictor().logits(images(0)).shape == (0, 3)


def test_predict_keeps_the_worst_and_the_most_confident_mistakes_in_order(tmp_path: Path) -> None:
    predictor, batch = make_predictor(), images(400)
    labels = np.random.default_rng(1).integers(0, 3, 400)
    (tmp_path / "names").write_text(json.dumps([f"{n}.png" for n in range(400)]))
    subset = Subset(batch, labels, np.arange(100, 400), ImageNames(tmp_path / "names"))
    predictions = predict(predictor, subset)
    losses = -torch.from_numpy(predictions.logits).double().log_softmax(1).numpy()
    loss = [losses[row, label] for row, label in enumerate(predictions.labels)]
    mistakes = [
        row for row in range(300) if predictions.logits[row].argmax() != predictions.labels[row]
    ]
    by_loss = sorted(mistakes, key=lambda row: -loss[row])
    most_confident = sorted(by_loss, key=lambda row: losses[row].min())[:CONFIDENT_MISTAKES]
    stored = {*by_loss[:MISTAKES], *most_confident}
    assert len(mistakes) > len(stored) > MISTAKES
    assert predictions.mistakes.tolist() == [row for row in by_loss if row in stored]
    assert np.array_equal(predictions.labels, labels[100:])
    assert np.array_equal(predictions.indices, np.arange(100, 400))
    assert np.array_equal(predictions.mistake_images, batch[100:][predictions.mistakes])
    assert predictions.mistake_names == tuple(f"{100 + row}.png" for row in predictions.mistakes)
    assert predictions.classes == CLASSES


def test_predict_without_a_mistake() -> None:
    predictor, batch = make_predictor(), images(30)
    labels = predictor.logits(batch).argmax(1).numpy()
    predictions = predict(predictor, Subset(batch, labels, np.arange(30)))
    assert predictions.mistake_names == ()
    assert predictions.mistakes.shape == (0,)
    assert predictions.mistake_images.shape == (0, *SHAPE)
