"""Where images come from: a source says what it is, and reads it."""

from abc import abstractmethod
from collections.abc import Mapping
from inspect import getsource
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import SerializeAsAny, SerializerFunctionWrapHandler, model_serializer

from cifarlab.config.family import Family
from cifarlab.data.array_splits import Arrays as Arrays
from cifarlab.data.array_splits import write_arrays
from cifarlab.data.image_policy import ImagePolicy

if TYPE_CHECKING:
    from cifarlab.data.dataset import Decoded, Progress


class Usual(NamedTuple):
    """What a source holds, as far as that is known before it is opened."""

    image_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    images: int = 50_000  # for training and validation, but for what test_fraction takes
    splits: tuple[str, ...] | None = None  # None: not known; test_fraction takes nothing


class SourceConfig(Family):
    """Where images and labels come from; a source of your own has a method ``read``.

    What it reads is kept in the cache, by its settings and its code. Where the images follow from a
    file too, ``find`` gives its path. In a recipe, a kind may stand by its name alone.
    """

    short_form: ClassVar[str] = "a path"
    label_modes: ClassVar[tuple[str, ...]] = ("fine",)

    @abstractmethod
    def read(self) -> Arrays:
        """Return the images and labels. Raises DataError."""

    def find(self, progress: "Progress | None" = None) -> Path | None:
        """Return the file or folder that is read, None where there is none.

        With ``progress`` it may be downloaded. Raises DataError where it must be there and is not.
        """
        return None

    def identity(self, path: Path | None) -> object:
        """Return JSON-able values that change with what is read; ``path`` is that of ``find``."""
        from cifarlab.data.paths import stamps

        settings = {name: value for name, value in dict(self).items() if name != "kind"}
        files = path and [str(path.resolve()), stamps(path)]
        return [self.kind, repr(settings), self.owner or _code(type(self)), files]

    def decode(
        self,
        path: Path | None,
        label_mode: str,
        policy: ImagePolicy,
        build: Path,
        progress: "Progress",
    ) -> "Decoded":
        """Write the splits into the folder ``build``. Raises DataError."""
        return write_arrays(str(self), self.read(), policy, build)

    def usual(self, label_mode: str) -> Usual:
        """Return what is known before it is opened; here that it is one like CIFAR-10."""
        return Usual()

    def __str__(self) -> str:
        """Return what people call it."""
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


def _code(kind: type[SourceConfig]) -> str:
    """Return the code of a class that is in no plug-in file, such as a notebook's; "" of ours."""
    try:
        return "" if kind.__module__.startswith("cifarlab.") else getsource(kind)
    except (OSError, TypeError):
        return ""


class Digits(SourceConfig):
    """The 1,797 handwritten digits that scikit-learn carries: real data without any network."""

    kind: Literal["digits"] = "digits"

    def read(self) -> Arrays:
        """Return the digits, 8x8 grey, 0..16 scaled to 0..255, as one training split."""
        import numpy as np
        from sklearn.datasets import load_digits  # over a second to import, needed once per cache

        digits = load_digits()
        grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        return Arrays(tuple(map(str, digits.target_names)), (grey, digits.target))

    def usual(self, label_mode: str) -> Usual:
        """Return the digits' own figures."""
        return Usual((8, 8, 1), 10, 1797, ("train",))


Source = SerializeAsAny[SourceConfig]
