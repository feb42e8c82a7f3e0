"""Image files become inputs in threads: small ones at once, large ones while there is room."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import IO

import numpy as np

from cifarlab_serve.exported import InputPolicy, count_cores
from cifarlab_serve.images import (
    BrokenError,
    RefusedError,
    declared_pixels,
    decode_opened,
    open_bytes,
)
from cifarlab_serve.limits import Admission, RefusalError
from cifarlab_serve.settings import Limits

FEW_PIXELS = 2**18  # of a request; they are decoded in a few milliseconds


class OpenedImage:
    """An image file whose size is known and whose pixels are still to be decoded."""

    def __init__(self, blob: bytes, name: str, policy: InputPolicy, max_pixels: int) -> None:
        """Open an image.

        Args:
            blob: the file's bytes
            name: what an error calls the image
            policy: what it is brought to
            max_pixels: an image that declares more is refused

        Raises:
            RefusalError: it is no image, or too large
        """
        self._name, self._policy = name, policy
        if not blob:
            raise RefusalError(422, f"{name} is empty", "send an image file's bytes")
        with _refusing(name):
            self._file = open_bytes(blob, max_pixels)
            self.n_pixels = declared_pixels(self._file)

    def decode(self) -> np.ndarray:
        """Return the input uint8 (H, W, C).

        Raises:
            RefusalError: the file is broken, or of another size
        """
        with _refusing(self._name):
            return decode_opened(self._file, self._policy)


@contextmanager
def _refusing(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenError as broken:
        hint = "send a JPEG, PNG, BMP, GIF, WebP, TIFF or PPM file"
        raise RefusalError(422, f"{name} {broken.what}", hint) from broken
    except RefusedError as refused:
        hint = refused.hint.replace("data.images.resize_mode=crop", "--resize-mode crop")
        hint = hint.replace("set --", "start the server with --")
        raise RefusalError(422, f"{name} {refused.what}", hint) from refused


class Decoder:
    """Decodes the images of many requests, large ones within a budget of pixels.

    Each thread holds one decoded image at a time. What waits is held as the files that came.
    """

    def __init__(self, policy: InputPolicy, limits: Limits, admission: Admission) -> None:
        self._policy, self._limits, self._admission = policy, limits, admission
        n = min(4, count_cores())
        self._openers = ThreadPoolExecutor(n, "open")
        self._decoders = ThreadPoolExecutor(n, "large")

    async def decode(self, files: Sequence[tuple[str, IO[bytes]]]) -> list[np.ndarray]:
        """Return the inputs of named files, which are closed.

        Raises:
            RefusalError: there is no room, or a file is refused
            TimeoutError: it takes too long
        """
        deadline = time.monotonic() + self._limits.timeout  # a thread can't be stopped from outside

        def finish(images: deque[OpenedImage]) -> list[np.ndarray]:
            inputs = []
            while images:  # an image has its pixels for as long as it lives
                if time.monotonic() > deadline:
                    raise TimeoutError
                inputs.append(images.popleft().decode())
            return inputs

        def begin() -> tuple[deque[OpenedImage], int, list[np.ndarray]]:
            images = deque(self._open(name, file) for name, file in files)
            n_pixels = sum(image.n_pixels for image in images)
            return images, n_pixels, finish(images) if n_pixels <= FEW_PIXELS else []

        loop = asyncio.get_running_loop()
        images, n_pixels, inputs = await loop.run_in_executor(self._openers, begin)
        if images:
            inputs = await self._decode_large(n_pixels, partial(finish, images))
        return inputs

    def _open(self, name: str, file: IO[bytes]) -> OpenedImage:
        with file:
            blob = file.read()
        return OpenedImage(blob, name[:200], self._policy, self._limits.pixels)

    async def _decode_large(
        self, n_pixels: int, decode: Callable[[], list[np.ndarray]]
    ) -> list[np.ndarray]:
        """Decode within the budget, which a thread uses for as long as it runs."""
        self._admission.take_pixels(n_pixels)
        work = self._decoders.submit(decode)
        work.add_done_callback(lambda _: self._admission.return_pixels(n_pixels))
        return await asyncio.wrap_future(work)
