"""What is wrong with the data: images that are there twice, and labels that are wrong."""
