"""Decoded pixels on their way to the cache: appended to a file as they come, then sorted.

Which images belong together, and whether all are grey, is known only after the last one.
"""

import math
from array import array
from pathlib import Path

import numpy as np

from cifarlab.data.images import Pixels

_CHUNK = 4096


class Spool:
    """A file of images of one height and width, each with its own number of channels."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names: list[str] = []
        self.size: tuple[int, int] | None = None
        self._channels = array("q")
        self._most_channels = 1
        self._file = path.open("wb", buffering=2**20)

    def add(self, name: str, pixels: Pixels) -> None:
        """Append one image, of the same size as all others."""
        self.size = (pixels.height, pixels.width)
        self._file.write(pixels.data)
        self._channels.append(pixels.channels)
        self._most_channels = max(self._most_channels, pixels.channels)
        self.names.append(name)

    @property
    def channels(self) -> int:
        """Channels of the whole: 1 if all images are grey, else 3."""
        return self._most_channels

    def write(self, order: np.ndarray, target: Path) -> None:
        """Write the images at ``order`` (n,) to a .npy file, uint8 (n, H, W, C)."""
        self._file.flush()
        assert self.size is not None, "the layout refuses a source without images"
        header = {
            "descr": "|u1",
            "fortran_order": False,
            "shape": (len(order), *self.size, self.channels),
        }
        channels = np.array(self._channels)
        ends = np.cumsum(channels) * math.prod(self.size)
        # Written in sequence: filling a memory map takes twice as long.
        with target.open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            data = np.memmap(self.path, dtype=np.uint8, mode="r")
            if channels.min() == channels.max():
                images = data.reshape(-1, *self.size, self.channels)
                for start in range(0, len(order), _CHUNK):
                    file.write(images[order[start : start + _CHUNK]].data)
                return
            for i in order:
                start = ends[i] - channels[i] * math.prod(self.size)
                file.write(self._broadcast(data[start : ends[i]]).data)

    def _broadcast(self, data: np.ndarray) -> np.ndarray:
        """One image, (H, W, C); a grey one among coloured ones gets its channel three times."""
        height, width = self.size or (0, 0)
        image = data.reshape(height, width, -1)
        return np.ascontiguousarray(np.broadcast_to(image, (height, width, self.channels)))

    def close(self) -> None:
        """Remove the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)
