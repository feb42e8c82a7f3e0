"""Sources of images: the family, and the shipped kinds."""

from abc import abstractmethod
from collections.abc import Mapping
from inspect import getsource
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, SerializeAsAny, SerializerFunctionWrapHandler, model_serializer

from cifarlab.config.family import Family
from cifarlab.config.plugins import plugin_errors
from cifarlab.data.array_splits import Arrays as Arrays
from cifarlab.data.array_splits import write_arrays
from cifarlab.data.dataset import DecodeRequest, DecodeResult, Progress


class SourceInfo(NamedTuple):
    """What is known of a source before it is opened; the defaults are those of CIFAR-10."""

    image_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    images: int = 50_000  # for training and validation, but for what test_fraction takes
    splits: tuple[str, ...] | None = None  # None: not known; test_fraction takes nothing


class SourceConfig(Family):
    """Where images and labels come from.

    What is decoded is kept in the cache. In a recipe, a kind may stand by its name alone.
    """

    short_form: ClassVar[str] = "a path"
    label_modes: ClassVar[tuple[str, ...]] = ("fine",)

    @abstractmethod
    def decode(self, path: Path | None, request: DecodeRequest) -> DecodeResult:
        """Write the splits into ``request.out``; ``path`` is that of ``find``.

        Raises:
            DataError: the images or labels can't be used
        """

    def find(self, progress: Progress | None = None) -> Path | None:
        """Return the file or folder that is read, None where there is none.

        Args:
            progress: with it, the file may be downloaded

        Raises:
            DataError: the file must be there and is not
        """
        return None

    def relocate(self, folder: Path) -> Self:
        """Return the source that a recipe in ``folder`` means by this one; here itself."""
        return self

    def cache_key(self, path: Path | None) -> object:
        """Return JSON-able values that change with what is read; ``path`` is that of ``find``."""
        settings = {name: value for name, value in dict(self).items() if name != "kind"}
        code = self.owner or ("" if self.is_shipped() else _code(type(self)))
        return [self.kind, repr(settings), code, _file_stamps(path)]

    def describe(self, label_mode: str) -> SourceInfo:
        """Return what is known before the source is opened; here: one like CIFAR-10."""
        return SourceInfo()

    def __str__(self) -> str:
        """Return the name that people call it by."""
        return self.kind

    @classmethod
    def from_text(cls, text: str) -> Mapping[str, Any]:
        """Return the settings that a text stands for: a kind's name, or else a path."""
        return {"kind": text} if text in cls.kinds() else {"kind": "files", "path": text}

    def as_text(self) -> str | None:
        """Return the text that stands for this source, None where it has settings."""
        return self.kind if list(type(self).model_fields) == ["kind"] else None

    @model_serializer(mode="wrap")
    def _as_text_or_mapping(self, handler: SerializerFunctionWrapHandler) -> Any:
        return self.as_text() or handler(self)


class ArraySourceConfig(SourceConfig):
    """A source that reads all images at once: a source of your own has a method ``read``.

    Where the images follow from a file, ``find`` gives its path.
    """

    @abstractmethod
    def read(self) -> Arrays:
        """Return the images and labels.

        Raises:
            DataError: they can't be read
        """

    def decode(self, path: Path | None, request: DecodeRequest) -> DecodeResult:
        """Write the splits that ``read`` returns."""
        with plugin_errors(self):
            arrays = self.read()
        return write_arrays(str(self), arrays, request)


def _code(kind: type[SourceConfig]) -> str:
    """Return the code of a class that is in no plug-in file, such as a notebook's."""
    try:
        return getsource(kind)
    except (OSError, TypeError):
        return ""


def _file_stamps(path: Path | None) -> object:
    from cifarlab.data.paths import stamps

    return path and [str(path.resolve()), stamps(path)]


class Digits(ArraySourceConfig):
    """The 1,797 handwritten digits that scikit-learn carries: real data without any network."""

    kind: Literal["digits"] = "digits"

    def read(self) -> Arrays:
        """Return the digits, 8x8 grey, 0..16 scaled to 0..255, as one training split."""
        from sklearn.datasets import load_digits  # over a second to import, needed once per cache

        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return Arrays(tuple(map(str, digits.target_names)), (grey, digits.target))

    def describe(self, label_mode: str) -> SourceInfo:
        """Return the shape and numbers of the digits."""
        return SourceInfo((8, 8, 1), 10, 1797, ("train",))


class FileSourceConfig(SourceConfig):
    """A source whose file or folder is decoded image by image, by its content."""

    def cache_key(self, path: Path | None) -> object:
        """Return the file's path and state, whatever it is called in the recipe."""
        return _file_stamps(path)

    def decode(self, path: Path | None, request: DecodeRequest) -> DecodeResult:
        """Write an official archive's splits, or those of class folders."""
        from cifarlab.data.paths import decode_path

        assert path is not None, "find returned it"
        return decode_path(path, request)


class OfficialArchive(FileSourceConfig):
    """A CIFAR source: the user's archive or folder, or the downloaded archive."""

    kind: str
    classes: ClassVar[int] = 10

    def find(self, progress: Progress | None = None) -> Path | None:
        """Return the path of the user's archive or folder, or of the downloaded archive."""
        from cifarlab.data.paths import find_official_archive

        return find_official_archive(self.kind, progress)

    def describe(self, label_mode: str) -> SourceInfo:
        """Return the published shape and numbers."""
        classes = 20 if label_mode == "coarse" else self.classes
        return SourceInfo(classes=classes, splits=("train", "test"))


class Cifar10(OfficialArchive):
    """CIFAR-10 (Krizhevsky 2009), downloaded where it is not there."""

    kind: Literal["cifar10"] = "cifar10"


class Cifar100(OfficialArchive):
    """CIFAR-100 (Krizhevsky 2009), downloaded where it is not there."""

    kind: Literal["cifar100"] = "cifar100"
    classes: ClassVar[int] = 100
    label_modes: ClassVar[tuple[str, ...]] = ("fine", "coarse")


class Files(FileSourceConfig):
    """A folder or archive of class folders with image files, or an official archive."""

    kind: Literal["files"] = "files"
    path: str = Field(".", min_length=1, description="of the folder or archive")
    label_modes: ClassVar[tuple[str, ...]] = ("fine", "coarse")  # it may hold CIFAR-100

    def find(self, progress: Progress | None = None) -> Path | None:
        """Return the path, which is looked up here, then in $CIFARLAB_DATA."""
        from cifarlab.data.paths import find_path

        return find_path(self.path, SourceConfig.kinds())

    def __str__(self) -> str:
        """Return its path."""
        return self.path

    def as_text(self) -> str | None:
        """Return its path, unless a kind has that name."""
        return None if self.path in SourceConfig.kinds() else self.path


Source = SerializeAsAny[SourceConfig]
