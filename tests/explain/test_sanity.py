"""The cascade of Adebayo et al. 2018: order, what is forgotten, and that it can fail."""

import numpy as np
import pytest
import torch
from made_networks import hooks, images, predictor
from scipy.stats import rankdata

from cifarlab.explain.sanity import RandomizationCheck, randomize_layers


@pytest.fixture(scope="module")
def made():
    return predictor("resnet")


@pytest.fixture(scope="module")
def told(made):
    return randomize_layers(made, images(6))


def test_layers_are_randomised_from_the_output_on(told):
    assert told.randomized[0] == "head"
    assert told.randomized[-1] == "stem.conv1"
    assert len(told.randomized) == 9  # the head, three blocks of two, a shortcut, the stem
    assert told.layer == "stage2"
    assert told.maps.shape == (10, 6, 6, 6) and told.correlations.shape == (10, 6)


def test_the_trained_network_agrees_with_itself_and_random_ones_do_not(told):
    assert np.allclose(told.correlations[0], 1)
    assert np.abs(told.correlations[-1]).mean() < 0.9
    for before, after in zip(told.maps, told.maps[1:], strict=False):
        assert not np.array_equal(before, after)


def test_the_trained_network_is_left_as_it_was():
    made, batch = predictor("resnet"), images(4)
    before = {name: t.clone() for name, t in made.classifier.state_dict().items()}
    logits = made.logits(batch)
    randomize_layers(made, batch)
    after = made.classifier.state_dict()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
    assert torch.equal(made.logits(batch), logits) and hooks(made.classifier) == 0


def test_the_seed_decides(made, told):
    again, other = randomize_layers(made, images(6)), randomize_layers(made, images(6), seed=1)
    np.testing.assert_array_equal(again.maps, told.maps)
    assert not np.array_equal(other.maps, told.maps)


def test_rank_correlation_is_that_of_the_ranks(told):
    one, other = (rankdata(maps[2].ravel()) for maps in (told.maps[0], told.maps[3]))
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(told.correlations[3, 2])


@pytest.mark.parametrize(("last", "passed"), [(0.9, False), (-0.8, False), (0.1, True)])
def test_maps_that_stay_do_not_pass(last, passed):
    correlations = np.array([[1.0, 1.0], [last, last]])
    made = RandomizationCheck("a", ("b",), np.zeros((2, 2, 3, 3)), correlations)
    assert made.is_passed is passed
    assert ("hardly" in made.verdict) is not passed


@pytest.mark.parametrize("kind", ["cnn", "airbench", "normalizer-free", "whitened"])
def test_every_kind_of_network(kind):
    told = randomize_layers(predictor(kind), images(2))
    assert np.isfinite(told.maps).all() and np.isfinite(told.correlations).all()
