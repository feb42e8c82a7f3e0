"""Losses: what training makes small. Each kind with its settings, and the arithmetic."""
