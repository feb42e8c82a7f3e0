"""A trained network at work: images in, classes with calibrated confidence out."""

from cifarlab.ship.formats import FORMATS, require_form, written
from cifarlab.ship.inputs import Inputs, decoded, input_policy, read_inputs
from cifarlab.ship.predict import Answers, Oracle, predict_paths

__all__ = [
    "FORMATS",
    "Answers",
    "Inputs",
    "Oracle",
    "decoded",
    "input_policy",
    "predict_paths",
    "read_inputs",
    "require_form",
    "written",
]
