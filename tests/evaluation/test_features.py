"""What enters the last layer, and which images are nearest by it."""

import numpy as np
import pytest
import torch
from made_predictor import CLASSES, images, make_predictor

from cifarlab.evaluation.features import features, nearest_neighbors
from cifarlab.system.errors import DataError


def test_the_last_layer_makes_the_logits_of_the_features():
    predictor, batch = make_predictor(), images(7)
    rows = features(predictor, batch)
    assert rows.shape == (7, 6) and rows.dtype == np.float32
    head = predictor.classifier.body.head
    logits = head(torch.from_numpy(rows)).detach()
    assert torch.equal(logits, predictor.logits(batch))
    assert logits.shape == (7, len(CLASSES))


def test_indices_pick_images():
    predictor, batch = make_predictor(), images(9)
    indices = np.array([8, 0, 3])
    assert (features(predictor, batch, indices) == features(predictor, batch[indices])).all()
    assert features(predictor, batch, indices[:0]).shape == (0, 6)


def test_no_hook_stays_even_when_it_fails():
    predictor = make_predictor()
    features(predictor, images(1))
    with pytest.raises(DataError):
        features(predictor, np.zeros((1, 2, 2, 3), np.uint8))
    assert not [m for m in predictor.classifier.modules() if m._forward_pre_hooks]


def test_nearest_is_by_the_angle():
    draw = np.random.default_rng(0)
    query, database = draw.normal(size=5), draw.normal(size=(40, 5))
    slow = [1 - row @ query / np.sqrt((row @ row) * (query @ query)) for row in database]
    indices, distances = nearest_neighbors(query, database, 6)
    assert indices.tolist() == sorted(range(40), key=slow.__getitem__)[:6]
    assert distances == pytest.approx([slow[index] for index in indices])
    indices, distances = nearest_neighbors(query, np.stack([-query, 3 * query, 0 * query]), 5)
    assert indices.tolist() == [1, 2, 0] and distances == pytest.approx([0, 1, 2], abs=1e-12)
