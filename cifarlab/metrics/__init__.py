"""Metrics: pure functions from logits and labels to a value, each with its direction."""
