"""The one way to predict, and what is measured of it."""

from cifarlab.evaluate.activity import silent_units
from cifarlab.evaluate.again import Opened, evaluate_run, measured_predictor, open_split
from cifarlab.evaluate.examine import examine
from cifarlab.evaluate.features import features, nearest
from cifarlab.evaluate.measure import Score, fit_temperature, measure, predict, score
from cifarlab.evaluate.predictor import Predictor
from cifarlab.evaluate.test_split import open_test_split
from cifarlab.evaluate.weights import WeightsFile, load_weights

__all__ = [
    "Opened",
    "Predictor",
    "Score",
    "WeightsFile",
    "evaluate_run",
    "examine",
    "features",
    "fit_temperature",
    "load_weights",
    "measure",
    "measured_predictor",
    "nearest",
    "open_split",
    "open_test_split",
    "predict",
    "score",
    "silent_units",
]
