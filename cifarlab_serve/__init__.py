"""Serve a network that cifarlab exported, over HTTP, without cifarlab and without torch.

Read in this order: ``exported`` (the file), ``settings`` (the bounds), ``limits`` (what is beyond
them is refused), ``decoding`` (from image files to inputs), ``batching`` (images of several
requests in one forward pass), ``app`` (what is answered), ``server``.
"""
