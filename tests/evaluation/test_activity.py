"""Silent units: found where they were made, counted right, no hook left."""

import numpy as np
import torch
from made_predictor import images, made

from cifarlab.evaluation.activity import dead_units


def hooks(predictor):
    return sum(len(m._forward_hooks) for m in predictor.classifier.modules())


def test_units_that_were_silenced_are_found_and_no_others():
    predictor, batch = made(), images(40)
    before = dead_units(predictor, batch, np.arange(40))["layers"]
    stem = predictor.classifier.body.stem
    norm = next(m for m in stem.modules() if isinstance(m, torch.nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight[[0, 2]] = 0
        norm.bias[[0, 2]] = -1
    after = dead_units(predictor, batch, np.arange(40))["layers"]
    first = next(iter(after))
    assert first.startswith("stem")
    assert after[first] == [2, 4]
    assert before[first][0] == 0
    assert list(after) == list(before)


def test_at_most_250_images_evenly_spread_are_looked_at():
    predictor, batch = made(), images(300)
    told = dead_units(predictor, batch, np.arange(0, 300, 2))
    assert told["images"] == 150
    assert dead_units(predictor, batch, np.arange(300))["images"] == 150
    assert dead_units(predictor, images(1000), np.arange(1000))["images"] == 250


def test_no_hook_survives_even_an_error():
    predictor = made()
    dead_units(predictor, images(3), np.arange(3))
    try:
        dead_units(predictor, images(3)[:, :2], np.arange(3))
    except Exception:
        assert hooks(predictor) == 0
    else:
        raise AssertionError("images of another shape were taken")
    assert hooks(predictor) == 0
