"""A run as one file that needs no cifarlab, certified to be the network that was measured."""
