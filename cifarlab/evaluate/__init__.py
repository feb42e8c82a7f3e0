"""The one way to predict, and what is measured of it."""

from cifarlab.evaluate.activity import silent_units
from cifarlab.evaluate.again import evaluate_run
from cifarlab.evaluate.features import features, nearest
from cifarlab.evaluate.measure import Score, measure, predict, score
from cifarlab.evaluate.predictor import Predictor
from cifarlab.evaluate.test_split import open_test_split
from cifarlab.evaluate.weights import WeightsFile, load_weights

__all__ = [
    "Predictor",
    "Score",
    "WeightsFile",
    "evaluate_run",
    "features",
    "load_weights",
    "measure",
    "nearest",
    "open_test_split",
    "predict",
    "score",
    "silent_units",
]
