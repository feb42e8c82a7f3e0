"""The run folder: the only thing that passes between training and everything after it."""
