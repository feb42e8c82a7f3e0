"""The server to compare with: FastAPI with one forward pass for each request, bounded by nothing.

As tutorials have it: a function that FastAPI runs in a thread, the same decoder and network.
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import Body, FastAPI

from cifarlab_serve.decoding import OpenedImage
from cifarlab_serve.exported import ExportedNetwork


def main() -> None:
    """Serve an exported file at a port."""
    network = ExportedNetwork(Path(sys.argv[1]), "crop")
    app = FastAPI()

    @app.post("/predict")
    def predict(image: bytes = Body(media_type="application/octet-stream")) -> dict[str, Any]:
        pixels = OpenedImage(image, "image", network.policy, 2**24).decode()
        row = network.run(pixels[None])[0]
        probabilities = dict(zip(network.classes, row.tolist(), strict=True))
        return {"label": network.classes[row.argmax()], "probabilities": probabilities}

    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")


if __name__ == "__main__":
    main()
