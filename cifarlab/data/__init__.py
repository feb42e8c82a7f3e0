"""Sources, splits and the loader: from a name or path to batches of uint8 images and labels."""
