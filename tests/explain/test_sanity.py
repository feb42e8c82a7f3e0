"""The cascade of Adebayo et al. 2018: order, what is forgotten, and that it can fail."""

import numpy as np
import pytest
import torch
from made_networks import count_hooks, images, make_predictor
from scipy.stats import rankdata

from cifarlab.explain.sanity import RandomizationCheck, randomize_layers


@pytest.fixture(scope="module")
def predictor():
    return make_predictor("resnet")


@pytest.fixture(scope="module")
def check(predictor):
    return randomize_layers(predictor, images(6))


def test_layers_are_randomised_from_the_output_on(check):
    assert check.randomized[0] == "head"
    assert check.randomized[-1] == "stem.conv1"
    assert len(check.randomized) == 9  # the head, three blocks of two, a shortcut, the stem
    assert check.layer == "stage2"
    assert check.maps.shape == (10, 6, 6, 6) and check.correlations.shape == (10, 6)


def test_the_trained_network_agrees_with_itself_and_random_ones_do_not(check):
    assert np.allclose(check.correlations[0], 1)
    assert np.abs(check.correlations[-1]).mean() < 0.9
    for before, after in zip(check.maps, check.maps[1:], strict=False):
        assert not np.array_equal(before, after)


def test_the_trained_network_is_left_as_it_was():
    predictor, batch = make_predictor("resnet"), images(4)
    before = {name: t.clone() for name, t in predictor.classifier.state_dict().items()}
    logits = predictor.logits(batch)
    randomize_layers(predictor, batch)
    after = predictor.classifier.state_dict()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
    assert torch.equal(predictor.logits(batch), logits) and count_hooks(predictor.classifier) == 0


def test_the_seed_decides(predictor, check):
    second, other = (
        randomize_layers(predictor, images(6)),
        randomize_layers(predictor, images(6), seed=1),
    )
    np.testing.assert_array_equal(second.maps, check.maps)
    assert not np.array_equal(other.maps, check.maps)


def test_rank_correlation_is_that_of_the_ranks(check):
    first, second = (rankdata(maps[2].ravel()) for maps in (check.maps[0], check.maps[3]))
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(check.correlations[3, 2])


@pytest.mark.parametrize(("last", "is_passed"), [(0.9, False), (-0.8, False), (0.1, True)])
def test_maps_that_stay_do_not_pass(last, is_passed):
    correlations = np.array([[1.0, 1.0], [last, last]])
    check = RandomizationCheck("a", ("b",), np.zeros((2, 2, 3, 3)), correlations)
    assert check.is_passed is is_passed
    assert ("hardly" in check.verdict) is not is_passed


@pytest.mark.parametrize("kind", ["cnn", "airbench", "normalizer-free", "whitened"])
def test_every_kind_of_network(kind):
    check = randomize_layers(make_predictor(kind), images(2))
    assert np.isfinite(check.maps).all() and np.isfinite(check.correlations).all()
