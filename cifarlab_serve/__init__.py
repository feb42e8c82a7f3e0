"""Serve a network that cifarlab exported, over HTTP, without cifarlab and without torch.

Read in this order: ``exported`` (the file), ``batching`` (images of several requests in one
forward pass), ``limits`` (what a request may cost), ``app`` (what is answered), ``server``.
"""
