"""What is wrong with the files of a folder or archive, with the settings to paste."""

from collections import Counter
from pathlib import Path

import numpy as np

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.images import MAX_SIDE, MIN_SIDE, BrokenError, SizeError
from cifarlab.system.errors import DataError

_MORE = 5000  # images looked at after the first problem, so that it is reported soon
_SIZES = 3  # sizes that a message lists
_SIDE_OF_PHOTOS = 64  # the side proposed where images are larger than any that can be used


class Problems:
    """Sizes of images, and files that can't be decoded, counted on the way through a source."""

    def __init__(self, policy: ImagePolicy) -> None:
        self.policy = policy
        self._sizes: Counter[tuple[int, int]] = Counter()
        self._first: dict[tuple[int, int], str] = {}
        self._wrong_size = False
        self._broken: list[str] = []
        self._since_first = 0

    def count(self, name: str, result: np.ndarray | SizeError | BrokenError) -> bool:
        """Count an image (H, W, C), or why it can't be taken; return whether all are well so far.

        They are not if their sizes differ.
        """
        if isinstance(result, BrokenError):
            self._broken.append(f"{name} {result.what}")
        else:
            is_wrong = isinstance(result, SizeError)
            width, height = result.shape[1::-1] if isinstance(result, np.ndarray) else result.size
            self._sizes[width, height] += 1
            self._first.setdefault((width, height), name)
            self._wrong_size |= is_wrong or len(self._sizes) > 1
        self._since_first += self._wrong_size or bool(self._broken)
        return not self._since_first

    @property
    def should_stop(self) -> bool:
        """Return whether so many images came after the first problem that it is reported."""
        return self._since_first > _MORE

    def raise_error(self, source: Path) -> None:
        """Raise one DataError for all that was found; nothing where that is nothing."""
        messages, settings, hints = [], [], []
        if self._wrong_size:
            messages.append(self._size_message())
            if self.policy.size is None:
                # a side for all: the short one of the most frequent size, where it may be
                short = max(MIN_SIDE, min(self._sizes.most_common(1)[0][0]))
                side = _SIDE_OF_PHOTOS if short > MAX_SIDE else short
                settings.append(f"data.images.size={side}")
            settings.append("data.images.resize_mode=crop")
            hints.append("resize_mode may also be pad or stretch")
        if self._broken:
            settings.append("data.images.on_bad_images=skip")
            messages.append(self._broken[0] + _and_others(len(self._broken)))
            hints.append("or mend or remove what is broken")
        if messages:
            hint = f"add {' '.join(settings)} ({', '.join(hints)})"
            raise DataError(f"{source}: {'; '.join(messages)}", hint)

    def _size_message(self) -> str:
        side = self.policy.size
        wrong = [(size, n) for size, n in self._sizes.most_common() if size != (side, side)]
        shown = [
            f"{self._first[size]} is {size[0]}x{size[1]}{_and_others(n)}"
            for size, n in wrong[:_SIZES]
        ]
        shown += [f"{len(wrong) - _SIZES:,} more sizes"] if len(wrong) > _SIZES else []
        any_side = f"one square size, sides from {MIN_SIDE} to {MAX_SIDE}"
        needed = f"{side}x{side}" if side else any_side
        return f"all images must have {needed}, but {', '.join(shown)}"


def _and_others(count: int) -> str:
    """How many more there are like the one that was named."""
    return f" (and {count - 1:,} like it)" if count > 1 else ""
