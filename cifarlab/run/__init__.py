"""The run folder: the only thing that passes between training and everything after it."""

from cifarlab.run.audit import Audit
from cifarlab.run.folder import RunFolder, describe_early_end
from cifarlab.run.journal import Journal, without_cost
from cifarlab.run.predictions import Predictions

__all__ = ["Audit", "Journal", "Predictions", "RunFolder", "describe_early_end", "without_cost"]
