"""A trained network at work: images in, classes with calibrated confidence out."""

from cifarlab.ship.formats import FORMATS, written
from cifarlab.ship.inputs import Inputs, read_inputs
from cifarlab.ship.predict import Answers, Oracle, predict_paths

__all__ = ["FORMATS", "Answers", "Inputs", "Oracle", "predict_paths", "read_inputs", "written"]
