"""The 1,797 handwritten digits that scikit-learn carries: real data without any network."""

from pathlib import Path

import numpy as np

from cifarlab.data.config import ImagePolicy
from cifarlab.data.dataset import Decoded, write_split
from cifarlab.data.images import RefusedError, conform
from cifarlab.system.errors import DataError


def decode_digits(policy: ImagePolicy, build: Path) -> Decoded:
    """Write the digits, 8x8 grey, 0..16 scaled to 0..255, as one training split into ``build``.

    Raises DataError where the policy refuses 8x8 images, OSError if ``build`` can't be written.
    """
    from sklearn.datasets import load_digits  # over a second to import, needed once per cache

    digits = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    try:
        images = conform(grey, policy)
    except RefusedError as refused:
        raise DataError(f"digits: each image {refused.what}", refused.hint) from refused
    write_split(build, "train", images, digits.target)
    return Decoded("digits", tuple(str(name) for name in digits.target_names), ("train",))
