"""Where a study lies, and the files that it writes.

runs/studies/<name>/
  study.json            the study, its runs with their states, and the comparison with all numbers
  table.md, table.csv   the comparison for people and for programs
  figure.svg, figure.png
  <row>-s<seed>-<fingerprint>/   ordinary run folders
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cifarlab.errors import MissingExtraError, RunFolderError
from cifarlab.run.naming import RUNS
from cifarlab.storage import disk_errors, write_text
from cifarlab.study.comparison import Comparison
from cifarlab.study.definition import Study
from cifarlab.study.table import csv_text, markdown


class StudyFolder:
    """Paths and files of one study; cheap to make, reads nothing until asked."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.file = self.path / "study.json"

    def content(self) -> dict[str, Any]:
        """What study.json says; empty before the first run. Raises RunFolderError."""
        try:
            content = json.loads(self.file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"can't read {self.file}: {error}",
                "remove it: the runs beside it are whole, and are taken up again",
            ) from error
        if not isinstance(content, dict):
            raise RunFolderError(f"{self.file} holds no JSON object", "remove it")
        return content

    def write(self, content: dict[str, Any]) -> None:
        """Replace study.json, whole. Raises StorageError."""
        write_text(self.file, json.dumps(content, indent=2) + "\n")

    def relative(self, path: Path) -> str:
        """A run's path as study.json names it, so that all can be moved together."""
        return Path(os.path.relpath(path, self.path)).as_posix()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Hold the study for one process. Raises RunFolderError where another has it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock", timeout=0)
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout as error:
                raise RunFolderError(
                    f"the study in {self.path} is in use by another process",
                    "wait for it or end it",
                ) from error
        try:
            yield
        finally:
            lock.release()


def study_folder(study: Study, scale: float, data: str | None, runs: Path = RUNS) -> StudyFolder:
    """Where this study goes; another scale or other data than its own make another folder."""
    name = study.name.replace("/", "-")
    if data is not None:
        name += "-on-" + (re.sub(r"[^\w.+-]+", "-", Path(data).name).strip("-") or "data")
    return StudyFolder(runs / "studies" / (name if scale == 1 else f"{name}-scale-{scale:g}"))


def write_comparison(of: Comparison, folder: Path) -> list[str]:
    """Write table and figure; what could not be made, in words. Raises StorageError."""
    write_text(folder / "table.md", markdown(of))
    write_text(folder / "table.csv", csv_text(of))
    try:
        from cifarlab.report import require_extra

        require_extra()
    except MissingExtraError as error:
        return [f"no figure: {error.what}; {error.hint}"]
    from cifarlab.report.style import save
    from cifarlab.study.figure import picture

    save(picture(of), folder)
    return []
