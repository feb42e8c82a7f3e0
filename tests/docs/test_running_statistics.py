"""benchmarks/running_statistics.py tells statistics that dropout made wrong from slow ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cifarlab.inference.predictor import Predictor
from cifarlab.models.classifier import Classifier
from cifarlab.system.device import choose_compute

SHAPE, N = (4, 4, 3), 1000


@pytest.fixture
def predictor() -> Predictor:
    """A predictor of two classes, dropout before its batch normalisation; nothing is trained.

    With the statistics of images without dropout it is always right.
    """
    head = nn.Linear(48, 2, bias=False)
    body = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.BatchNorm1d(48), head)
    classifier = Classifier(body, [0.0] * 3, [1.0] * 3)
    nn.init.normal_(head.weight, generator=torch.Generator().manual_seed(0))
    return Predictor(classifier.eval(), ("a", "b"), SHAPE, choose_compute())


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (N, *SHAPE), dtype=np.uint8)


def classes(predictor: Predictor, images: np.ndarray) -> np.ndarray:
    """The classes of images under statistics of all of them, written out."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).flatten(1) / 255
    normal = (pixels - pixels.mean(0)) / pixels.std(0)
    return (normal @ predictor.classifier.body[3].weight.T).argmax(1).detach().numpy()


def shift_statistics(norm: nn.BatchNorm1d) -> None:
    """Leave running statistics as training with another mean would."""
    norm.running_mean += torch.linspace(-1, 1, 48)


def test_statistics_taken_anew_are_those_of_the_images_without_dropout(modules, predictor, images):
    norm = predictor.classifier.body[2]
    shift_statistics(norm)
    measured = modules.running_statistics.measure(predictor, images, classes(predictor, images))
    assert measured["running statistics taken anew without dropout"] > 97
    assert measured["each batch's statistics"] > 90  # halves of the images
    assert measured["as measured"] < 75
    assert measured["running statistics, dropout at work"] < 75


def test_measuring_leaves_running_statistics_as_they_were(modules, predictor, images):
    norm = predictor.classifier.body[2]
    shift_statistics(norm)
    before = norm.running_mean.clone(), norm.running_var.clone()
    kinds = nn.BatchNorm1d, nn.Dropout
    with modules.running_statistics.in_training_mode(predictor.classifier, *kinds):
        assert norm.training
        modules.running_statistics.accuracy(predictor, images, np.zeros(N, int))
        assert not torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_mean, before[0])
    assert torch.equal(norm.running_var, before[1])
    assert not predictor.classifier.body[1].training


def test_the_finding_on_the_exchanged_order_has_the_measured_figures():
    root = Path(__file__).parents[2]
    results = (root / "benchmarks" / "results").glob("running-statistics-kth2024-exchanged_*.json")
    measured = json.loads(max(results).read_text())
    accuracy, page = measured["accuracy"], (root / "docs" / "reports.md").read_text()
    assert f"After {measured['epoch']} of its 100 epochs" in page
    assert f"measures {accuracy['as measured']:.1f} %" in page
    for way in ("each batch's statistics", "running statistics taken anew without dropout"):
        assert f"{accuracy[way]:.1f} %" in page
    assert f"{accuracy['running statistics, dropout at work']:.1f} % by their own" in page
    measured, by_batch, with_dropout, by_batch_with_dropout, renewed = accuracy.values()
    assert f"evaluation loses {renewed - measured:.1f} points" in page
    assert f"{by_batch_with_dropout - with_dropout:.1f} are lost because" in page
    assert f"{by_batch - by_batch_with_dropout:.1f} are lost to the noise" in page
    assert f"the other {with_dropout - measured:.1f} because" in page
