"""Sources that are files: the official CIFAR archives, and any folder or archive of images."""

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cifarlab.data.image_policy import ImagePolicy
from cifarlab.data.sources import Arrays, SourceConfig, Usual

if TYPE_CHECKING:
    from cifarlab.data.dataset import Decoded, Progress


class FileSource(SourceConfig):
    """What sources share that are decoded from a file or folder, by its content."""

    kind: str

    def read(self) -> Arrays:
        """Refuse: the splits are decoded from the file without a copy in memory."""
        raise NotImplementedError

    def decode(
        self,
        path: Path | None,
        label_mode: str,
        policy: ImagePolicy,
        build: Path,
        progress: "Progress",
    ) -> "Decoded":
        """Write an official archive's splits, or those of class folders."""
        from cifarlab.data.paths import decode_path

        assert path is not None, "find gave it"
        return decode_path(path, label_mode, policy, build, progress)

    def identity(self, path: Path | None) -> object:
        """Return the file's path and state, whatever it is called in the recipe."""
        from cifarlab.data.paths import stamps

        return path and [str(path.resolve()), stamps(path)]


class OfficialArchive(FileSource):
    """What both CIFAR sources share: the user's own archive or folder, else a downloaded one."""

    kind: str
    classes_by_mode: ClassVar[dict[str, int]]

    def find(self, progress: "Progress | None" = None) -> Path | None:
        """Return where it lies, or with ``progress`` where it was downloaded to."""
        from cifarlab.data.paths import find_official_archive

        return find_official_archive(self.kind, progress)

    def usual(self, label_mode: str) -> Usual:
        """Return the published figures."""
        classes = self.classes_by_mode.get(label_mode, 10)
        return Usual(classes=classes, splits=("train", "test"))


class Cifar10(OfficialArchive):
    """CIFAR-10 (Krizhevsky 2009), downloaded where it is not there."""

    kind: Literal["cifar10"] = "cifar10"
    classes_by_mode: ClassVar[dict[str, int]] = {"fine": 10}


class Cifar100(OfficialArchive):
    """CIFAR-100 (Krizhevsky 2009), downloaded where it is not there."""

    kind: Literal["cifar100"] = "cifar100"
    label_modes: ClassVar[tuple[str, ...]] = ("fine", "coarse")
    classes_by_mode: ClassVar[dict[str, int]] = {"fine": 100, "coarse": 20}


class Files(FileSource):
    """A folder or archive of class folders with image files, or an official archive."""

    kind: Literal["files"] = "files"
    path: str = Field(".", min_length=1, description="of the folder or archive")
    label_modes: ClassVar[tuple[str, ...]] = ("fine", "coarse")  # it may hold CIFAR-100

    def find(self, progress: "Progress | None" = None) -> Path:
        """Return it as given or under $CIFARLAB_DATA. Raises DataError."""
        from cifarlab.data.paths import find_path

        return find_path(self.path, list(SourceConfig.kinds()))

    def __str__(self) -> str:
        """Return its path."""
        return self.path

    def as_text(self) -> str | None:
        """Return its path, unless a kind has that name."""
        return None if self.path in SourceConfig.kinds() else self.path
