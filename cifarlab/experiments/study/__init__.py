"""Studies: recipes x seeds, compared with a baseline."""
