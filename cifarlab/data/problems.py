"""Sum up what is wrong with the images of a folder or archive, with the settings to paste."""

from collections.abc import Mapping, Sequence

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.system.errors import DataError
from cifarlab_serve.images import MAX_SIDE, MIN_SIDE

_SIZES = 3  # sizes that a message lists
_SIDE_OF_PHOTOS = 64  # the side proposed where images are larger than any that can be used


def describe_problems(
    source: str,
    policy: ImagePolicy,
    sizes: Mapping[tuple[int, ...], Sequence[str]],
    broken: Mapping[str, str],
) -> DataError:
    """Return one error for all images that are refused.

    Args:
        source: what the source is called
        policy: the recipe's image policy
        sizes: names of images by (width, height), where these differ or can't be used
        broken: the reason why a file can't be decoded, by its name
    """
    messages, settings, hints = [], [], []
    if sizes:
        by_count = sorted(sizes, key=lambda size: -len(sizes[size]))
        messages.append(_describe_sizes(policy.size, {size: sizes[size] for size in by_count}))
        if policy.size is None:
            # a side for all: the short one of the most frequent size, where it may be
            side = max(MIN_SIDE, min(by_count[0]))
            settings.append(f"data.images.size={_SIDE_OF_PHOTOS if side > MAX_SIDE else side}")
        settings.append("data.images.resize_mode=crop")
        hints.append("resize_mode may also be pad or stretch")
    if broken:
        name, reason = next(iter(broken.items()))
        messages.append(f"{name} {reason}{_and_others(len(broken))}")
        settings.append("data.images.on_bad_images=skip")
        hints.append("or mend or remove what is broken")
    hint = f"add {' '.join(settings)} ({', '.join(hints)})"
    return DataError(f"{source}: {'; '.join(messages)}", hint)


def _describe_sizes(side: int | None, sizes: Mapping[tuple[int, ...], Sequence[str]]) -> str:
    any_side = f"one square size, sides from {MIN_SIDE} to {MAX_SIDE}"
    requirement = f"{side}x{side}" if side else any_side
    size_lines = [
        f"{names[0]} is {size[0]}x{size[1]}{_and_others(len(names))}"
        for size, names in sizes.items()
        if size != (side, side)
    ]
    more = [f"{len(size_lines) - _SIZES:,} more sizes"] if len(size_lines) > _SIZES else []
    return f"all images must have {requirement}, but {', '.join(size_lines[:_SIZES] + more)}"


def _and_others(count: int) -> str:
    """Return the words for the others that are like the one that is named."""
    return f" (and {count - 1:,} like it)" if count > 1 else ""
