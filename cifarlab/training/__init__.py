"""Training: a recipe and a folder become a finished run."""
