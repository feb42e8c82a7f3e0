"""A folder of runs with one JSON file about them all: a study's, a search's."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

from cifarlab.run_folder import RUNS
from cifarlab.run_folder.naming import folder_name
from cifarlab.run_folder.schemas import FORMAT, StoredModel, make_folder_check
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import lock_folder, read_json, write_json


class Collection:
    """Paths and files of one collection; each method reads its file anew."""

    what = "collection"  # the word for it in messages; its file is <what>.json
    mend = "restore it"  # what to do where that file is damaged
    folder = "collections"  # under the folder of the runs
    schema = StoredModel  # what that file holds

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.file = self.path / f"{self.what}.json"

    @classmethod
    def locate(
        cls,
        name: str,
        scale: float,
        data: str | None,
        runs: Path = RUNS,
        first_seed: int | None = None,
    ) -> Self:
        """Return a study's or search's folder; another scale, data or seeds make another folder.

        Args:
            name: the study's or search's
            scale: fraction of the training images and epochs
            data: ``data.source`` where it is not the recipes' own
            runs: folder of the runs
            first_seed: the first seed where it is not the study's own
        """
        return cls(runs / cls.folder / folder_name(name, scale, data, first_seed))

    def content(self) -> dict[str, Any]:
        """Return the file's content; empty before the first run.

        Raises:
            RunFolderError: the file is damaged, or another version wrote it
        """
        check = make_folder_check(self.path, self.schema)
        return read_json(self.file, self.mend, check) or {}

    def write(self, content: dict[str, Any]) -> None:
        """Replace the file, which says the format of the folder, too.

        Raises:
            StorageError: the disk refused
        """
        write_json(self.file, {"format": FORMAT, **content})

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder for this process while the block runs.

        Raises:
            RunFolderError: another process holds it
        """
        what = f"the {self.what} in {self.path} is in use by another process"
        return lock_folder(self.path, RunFolderError(what, "wait for it or end it"))
