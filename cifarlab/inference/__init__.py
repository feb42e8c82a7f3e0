"""From raw images to logits, never a label: predictor, weights file, inputs, formats."""
