"""Optimizers, learning-rate schedules and averaging of weights."""
