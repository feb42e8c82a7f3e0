"""Finds errors in the data: images that are in them twice, and labels that are wrong."""
