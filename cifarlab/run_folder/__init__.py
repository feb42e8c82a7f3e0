"""The run folder: the only thing that passes between training and everything after it."""

from pathlib import Path

RUNS = Path("runs")  # the folder of the runs where none is given
