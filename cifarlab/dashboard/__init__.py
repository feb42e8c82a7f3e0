"""Runs, studies and searches in a browser, and images tried on a network."""
