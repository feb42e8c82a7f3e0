"""Dead units: exactly those that were switched off, in each layer; no hook stays."""

import numpy as np
import torch
from made_predictor import images, make_predictor

from cifarlab.evaluation.activity import dead_units


def count_hooks(predictor):
    return sum(len(m._forward_hooks) for m in predictor.classifier.modules())


def test_exactly_the_units_that_were_switched_off_are_dead():
    predictor, batch = make_predictor(), images(40)
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
    predictor, batch = make_predictor(), images(300)
    result = dead_units(predictor, batch, np.arange(0, 300, 2))
    assert result["images"] == 150
    assert dead_units(predictor, batch, np.arange(300))["images"] == 150
    assert dead_units(predictor, images(1000), np.arange(1000))["images"] == 250


def test_no_hook_survives_even_an_error():
    predictor = make_predictor()
    dead_units(predictor, images(3), np.arange(3))
    try:
        dead_units(predictor, images(3)[:, :2], np.arange(3))
    except Exception:
        assert count_hooks(predictor) == 0
    else:
        raise AssertionError("images of another shape were taken")
    assert count_hooks(predictor) == 0
