"""What is measured of a trained run: numbers of a whole split."""
