"""Open the images that a recipe names, and sum up what they are in a line."""

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path

from cifarlab.config.plugins import plugin_errors
from cifarlab.data.cache import HINT, cache_entry, load_cached, open_cached
from cifarlab.data.cifar import refuse_label_mode
from cifarlab.data.config import Data
from cifarlab.data.dataset import Dataset, DecodeRequest, DecodeResult, Log, Progress, Subset
from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.sources import SourceConfig
from cifarlab.data.splits import count_test_images, training_subsets
from cifarlab.system.errors import StorageError

_MAX_LETTERS = 60  # letters of class names that a line shows
_DEFAULT_POLICY = ImagePolicy()


@dataclass(frozen=True)
class OpenData:
    """The images of a recipe: the decoded source, and its training and validation parts."""

    dataset: Dataset
    data: Data

    @cached_property
    def _subsets(self) -> tuple[Subset, Subset | None]:
        return training_subsets(self.dataset, self.data)

    @property
    def training(self) -> Subset:
        """Return the training images; the errors are those of ``training_subsets``."""
        return self._subsets[0]

    @property
    def validation(self) -> Subset | None:
        """Return the images held out, None where none are."""
        return self._subsets[1]

    def has_same_validation(self, other: "OpenData") -> bool:
        """Return whether another recipe holds out the same images of this source, or also none."""
        held_out = [d.validation.indices.tolist() if d.validation else None for d in (self, other)]
        return held_out[0] == held_out[1]

    def has_same_test(self, other: "OpenData") -> bool:
        """Return whether another recipe's test images of this source are the same."""
        cuts = [(d.data.test_fraction, d.data.split_seed) for d in (self, other)]
        return "test" in self.dataset.split_names or cuts[0] == cuts[1]

    def summary(self) -> list[str]:
        """Return classes, images by part, their size and what was skipped, in a line; then notes.

        The test split is not opened; the errors are those of ``training_subsets``.
        """
        dataset, policy = self.dataset, self.data.images
        n_test = count_test_images(dataset, self.data)
        sizes = {"train": len(self.training), "val": len(self.validation or ()), "test": n_test}
        parts = [f"{n:,} {part}" for part, n in sizes.items() if n]
        height, width, channels = dataset.image_shape
        color = "grey" if channels == 1 else "colour"
        skipped = f"; {len(dataset.skipped):,} skipped" if dataset.skipped else ""
        line = (
            f"{len(dataset.classes)} classes: {_truncate_names(dataset.classes)}; "
            f"{' + '.join(parts)} images of {height} x {width}, {color}{skipped}"
        )
        note = (
            "note: all images are grey, stored in colour: data.images.channels=grey makes them a "
        )
        is_noted = dataset.channels_equal and policy.channels != "rgb"
        return [line, f"{note}third as large"] if is_noted else [line]


def open_data(data: Data, progress: Progress | None = None, log: Log | None = None) -> OpenData:
    """Open the images of a recipe; the errors are those of ``open_dataset``.

    Args:
        data: the recipe's data
        progress: is called while images are downloaded or decoded
        log: is called with each line of the summary
    """
    dataset = open_dataset(
        data.source, label_mode=data.label_mode, images=data.images, progress=progress
    )
    result = OpenData(dataset, data)
    if log:
        for line in result.summary():
            log(line)
    return result


def open_cached_data(data: Data) -> OpenData | None:
    """Open the images of a recipe from the cache alone, None where they are not in it.

    Nothing is downloaded, decoded, written or locked. An unknown source is a DataError.
    """
    _, entry = _entry(data.source, data.label_mode, data.images)
    dataset = load_cached(entry, str(data.source))
    return OpenData(dataset, data) if dataset else None


def open_dataset(
    source: str | SourceConfig,
    *,
    label_mode: str = "fine",
    images: ImagePolicy = _DEFAULT_POLICY,
    progress: Progress | None = None,
) -> Dataset:
    """Open a source: the first time it is decoded into the cache, later it is mapped.

    Args:
        source: a source, or a text that stands for one: a kind's name, or the path to images
        label_mode: ``fine`` or ``coarse``, which only CIFAR-100 has
        images: the size and channels of the images
        progress: is called with what is being done, how much of it is done and, where known, how
            much there is

    Raises:
        DataError: the source is unknown, broken or unsafe
        DownloadError: it can't be downloaded
        StorageError: the cache can't be written
    """
    report = progress or (lambda _what, _n, _total: None)
    if isinstance(source, SourceConfig):
        config = source
    else:  # not validated, since a path need not be UTF-8
        settings = SourceConfig.from_text(source)
        config = SourceConfig.kinds()[settings["kind"]].model_construct(**settings)
    if label_mode not in config.label_modes:
        refuse_label_mode(label_mode, str(config))
    try:
        path, entry = _entry(config, label_mode, images, report)
        decode = plugin_errors(config)(config.decode)

        def build(out: Path) -> DecodeResult:
            return decode(path, DecodeRequest(label_mode, images, out, report))

        return open_cached(entry, str(config), build)
    except StorageError as error:
        raise StorageError(error.what, HINT) from error


def _entry(
    source: SourceConfig, label_mode: str, images: ImagePolicy, progress: Progress | None = None
) -> tuple[Path | None, Path]:
    """Return the path that is read, if any, and the source's entry in the cache."""
    with plugin_errors(source):
        path = source.find(progress)
        stem = (path.name or "root") if path else source.kind
        return path, cache_entry(stem, [source.cache_key(path), label_mode, images.model_dump()])


def _truncate_names(names: tuple[str, ...]) -> str:
    """Return the first names, as many as a line has room for, at least one."""
    lengths = accumulate(len(name) + 2 for name in names)
    visible_names = names[: max(1, sum(length <= _MAX_LETTERS for length in lengths))]
    dots = ["..."] if len(visible_names) < len(names) else []
    return ", ".join([*(name[:_MAX_LETTERS] for name in visible_names), *dots])
