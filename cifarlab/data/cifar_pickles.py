"""The pickles in the official archives and of competitions, read without running what they ask for.

The unpickler knows the four callables that such files hold, and no other.
"""

import io
import pickle
from typing import Any

import numpy as np

from cifarlab.errors import DataError

REPACKED_HINT = "get the official archive again; it is no longer as it was published"


def _latin1(text: str, _encoding: str = "latin1") -> bytes:
    """What ``_codecs.encode`` does for the bytes that Python 3 writes at protocol 2."""
    return text.encode("latin1")


# numpy's helper moved between modules; taken from an array it needs no import of either.
_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _latin1,
}


class _Unpickler(pickle.Unpickler):
    """Builds arrays and plain values; any other callable in the file is refused, not run."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def load(blob: bytes, where: str, hint: str = REPACKED_HINT) -> dict[str, Any]:
    """Read a pickled dictionary. Raises DataError naming ``where``, with the hint."""
    try:
        loaded = _Unpickler(io.BytesIO(blob), encoding="bytes").load()
        return {text(key): value for key, value in loaded.items()}
    # A forged pickle can make any of the callables above fail in any way.
    except Exception as error:
        what = "the official archive has there" if hint == REPACKED_HINT else "is expected there"
        raise DataError(f"{where} is not what {what}: {error}", hint) from error


def text(value: bytes | str) -> str:
    """Decode what Python 2 wrote as a byte string."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
