"""The laboratory from Python: what a notebook holds is a view of a folder on the disk."""
