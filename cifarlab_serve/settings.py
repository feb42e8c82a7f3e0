"""What a server is started with: bounds of what requests may cost, and the words of its options."""

from dataclasses import dataclass

HOST, PORT = "127.0.0.1", 8643
TOKEN_VARIABLE = "CIFARLAB_SERVE_TOKEN"
OPTIONS = {  # of 'cifarlab serve' and 'cifarlab-serve'
    "exported": "an ONNX file of 'export', or its folder",
    "host": "to listen on; another one: with a token",
    "port": "0: a free one",
    "token": f"what a client must send; better in {TOKEN_VARIABLE}",
    "resize_mode": "error, crop, pad or stretch; default: the recipe's",
    "threads": "of the network; default: one for each core",
    "batch": "images in one forward pass, at most",
    "queue": "images that may wait; more are answered 503",
    "pixels": "of an image as it is sent, at most",
    "timeout": "seconds to read a request, and to answer it",
    "check": "only load the network: can it be served?",
}
LIMITS = ("batch", "queue", "pixels", "timeout")  # which of the bounds are options


@dataclass(frozen=True)
class Limits:
    """The bounds of a server; bytes, images, pixels and seconds."""

    body_bytes: int = 2**24
    pixels: int = 2**22  # of an image as it is sent; some 100 MB while it is decoded
    held_pixels: int = 2**26  # of all images that are decoded or wait for it
    images: int = 256  # of a request
    connections: int = 512  # at once; a process may often open 1,024 files
    requests: int = 256  # at once
    held_bytes: int = 2**27  # bodies of all requests
    queue: int = 1024  # images that wait for the network
    batch: int = 64  # images of a forward pass
    wait: float = 0.002  # of an image for others that are being decoded
    timeout: float = 10.0  # for a request's head, again for its body, and for the answer
