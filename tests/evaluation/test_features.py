"""What enters the last layer, and which images are nearest by it."""

import numpy as np
import pytest
import torch
from made_predictor import CLASSES, images, made

from cifarlab.evaluation.features import features, nearest_neighbors
from cifarlab.system.errors import DataError


def test_the_last_layer_makes_the_logits_of_the_features():
    predictor, batch = made(), images(7)
    found = features(predictor, batch)
    assert found.shape == (7, 6) and found.dtype == np.float32
    head = predictor.classifier.body.head
    logits = head(torch.from_numpy(found)).detach()
    assert torch.equal(logits, predictor.logits(batch))
    assert logits.shape == (7, len(CLASSES))


def test_indices_pick_images():
    predictor, batch = made(), images(9)
    picked = np.array([8, 0, 3])
    assert (features(predictor, batch, picked) == features(predictor, batch[picked])).all()
    assert features(predictor, batch, picked[:0]).shape == (0, 6)


def test_no_hook_stays_even_when_it_fails():
    predictor = made()
    features(predictor, images(1))
    with pytest.raises(DataError):
        features(predictor, np.zeros((1, 2, 2, 3), np.uint8))
    assert not [m for m in predictor.classifier.modules() if m._forward_pre_hooks]


def test_nearest_is_by_the_angle():
    draw = np.random.default_rng(0)
    one, many = draw.normal(size=5), draw.normal(size=(40, 5))
    slow = [1 - row @ one / np.sqrt((row @ row) * (one @ one)) for row in many]
    places, distances = nearest_neighbors(one, many, 6)
    assert places.tolist() == sorted(range(40), key=slow.__getitem__)[:6]
    assert distances == pytest.approx([slow[place] for place in places])
    places, distances = nearest_neighbors(one, np.stack([-one, 3 * one, 0 * one]), 5)
    assert places.tolist() == [1, 2, 0] and distances == pytest.approx([0, 1, 2], abs=1e-12)
