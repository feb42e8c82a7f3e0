"""Augmentation of training images, by the batch, on the device: crop to mix to resize."""
