"""What is wrong with the files of a folder or archive, with the settings to paste."""

from collections import Counter
from pathlib import Path

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.images import MAX_SIDE, MIN_SIDE, BrokenError, Pixels
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
        self._broken: tuple[str, str] | None = None
        self._broken_count = 0
        self._first_problem_at: int | None = None

    @property
    def any_problem(self) -> bool:
        """Return whether there is any."""
        return self._first_problem_at is not None

    @property
    def should_stop(self) -> bool:
        """Return whether so many images came after the first problem that it is reported."""
        return (
            self._first_problem_at is not None and self._looked_at - self._first_problem_at >= _MORE
        )

    @property
    def _looked_at(self) -> int:
        return self._sizes.total() + self._broken_count

    def count_size(self, name: str, size: tuple[int, int], *, wrong: bool) -> None:
        """Count an image of width and height ``size``; ``wrong``: it can't be taken like that."""
        self._sizes[size] += 1
        self._first.setdefault(size, name)
        self._mark_problem(wrong or len(self._sizes) > 1)

    def count_decoded(self, name: str, pixels: Pixels) -> None:
        """Count an image that can be taken, if all others have its size."""
        self.count_size(name, (pixels.width, pixels.height), wrong=False)

    def count_broken(self, name: str, error: BrokenError) -> None:
        """Count a file that can't be decoded."""
        self._broken_count += 1
        self._broken = self._broken or (name, error.what)
        self._mark_problem(True)

    def _mark_problem(self, wrong: bool) -> None:
        if wrong and self._first_problem_at is None:
            self._first_problem_at = self._looked_at

    def raise_error(self, source: Path) -> None:
        """Raise one DataError for all that was found; nothing where that is nothing."""
        if not self.any_problem:
            return
        messages, settings, hints = [], [], []
        if len(self._sizes) > 1 or not self._usable:
            messages.append(self._size_message())
            if self.policy.size is None:
                settings.append(f"data.images.size={self._proposed}")
            settings.append("data.images.resize_mode=crop")
            hints.append("resize_mode may also be pad or stretch")
        if self._broken:
            name, why = self._broken
            settings.append("data.images.on_bad_images=skip")
            messages.append(f"{name} {why}" + _and_others(self._broken_count))
            hints.append("or mend or remove what is broken")
        raise DataError(
            f"{source}: {'; '.join(messages)}", f"add {' '.join(settings)} ({', '.join(hints)})"
        )

    @property
    def _usable(self) -> bool:
        """Whether every image has a size that can be taken as it is."""
        sides = (MIN_SIDE, MAX_SIDE) if self.policy.size is None else (self.policy.size,) * 2
        return all(w == h and sides[0] <= w <= sides[1] for w, h in self._sizes)

    @property
    def _proposed(self) -> int:
        """A side for all of them: the short one of the most frequent size, where it may be."""
        short = min(self._sizes.most_common(1)[0][0])
        return _SIDE_OF_PHOTOS if short > MAX_SIDE else max(short, MIN_SIDE)

    def _size_message(self) -> str:
        side = self.policy.size
        wrong = [(size, n) for size, n in self._sizes.most_common() if size != (side, side)]
        shown = [
            f"{self._first[size]} is {size[0]}x{size[1]}{_and_others(n)}"
            for size, n in wrong[:_SIZES]
        ]
        more = len(wrong) - len(shown)
        listed = ", ".join(shown) + (f", {more:,} more sizes" if more else "")
        needed = (
            f"{side}x{side}" if side else f"one square size, sides from {MIN_SIDE} to {MAX_SIDE}"
        )
        return f"all images must have {needed}, but {listed}"


def _and_others(count: int) -> str:
    """How many more there are like the one that was named."""
    return f" (and {count - 1:,} like it)" if count > 1 else ""
