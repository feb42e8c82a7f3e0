"""Losses, which training minimizes: each kind with its settings, and the arithmetic."""
