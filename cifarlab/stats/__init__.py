"""Intervals, tests and power; nothing here knows of runs."""
