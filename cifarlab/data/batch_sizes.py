"""Sizes of batches and of their micro-batches; training/plan.py says which images these have."""


def batch_sizes(images: int, batch_size: int | None) -> list[int]:
    """Return sizes of ceil(images / batch_size) batches, as equal as can be, larger ones first.

    So no batch is small: 1,294 images at 128 make seven batches of 118 and four of 117. No batch
    has a single image, which batch normalisation can't use, unless ``batch_size`` is 1: an odd
    number at 2 makes a first batch of three. With None for ``batch_size``, one batch has all.
    """
    batch_size = batch_size or max(1, images)
    count = max(1, min(-(-images // batch_size), images // min(2, batch_size)))
    size, larger = divmod(images, count)
    return [size + (index < larger) for index in range(count)]
