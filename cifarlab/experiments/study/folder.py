"""The folder of a study and its files.

runs/studies/<name>/
  study.json            the study, its plan, its runs with their states, the comparison
  table.md, table.csv   the comparison for people and for programs
  figure.svg            and as PNG and PDF where they were asked for; so curves.svg, evidence.svg
  <row>-s<seed>-<fingerprint>/   ordinary run folders
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import Field

from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.figure import FIGURES
from cifarlab.experiments.study.plan import StudyPlan
from cifarlab.experiments.study.table import csv_text, flips_rows, markdown
from cifarlab.experiments.writing import csv_table, write_figures
from cifarlab.plots.spec import require_formats
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.collection import Collection
from cifarlab.run_folder.naming import folder_name
from cifarlab.run_folder.schemas import StoredModel
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import write_text


class StoredFailure(StoredModel):
    """The reason why a run has no result; see experiments/worker.py."""

    kind: str
    what: str
    hint: str = ""


class StoredRun(StoredModel):
    """The state of one run of a study."""

    row: str
    seed: int
    fingerprint: str = ""
    run: str | None = None
    failure: StoredFailure | None = None


class StudyFile(StoredModel):
    """The content of study.json."""

    study: dict[str, Any] = Field({})
    scale: float = 1.0
    plan: StudyPlan | None = None
    runs: list[StoredRun] = Field([])
    comparison: dict[str, Any] | None = None


class StudyFolder(Collection):
    """The paths and files of one study."""

    what = "study"
    schema = StudyFile
    mend = "remove it: the runs beside it are whole, and are taken up again"

    def plan(self) -> StudyPlan | None:
        """Return the plan in study.json; None without one.

        Raises:
            RunFolderError: the file is damaged
        """
        tree = self.content().get("plan")
        return StudyPlan.model_validate(tree) if tree else None

    def same_questions(self, plan: StudyPlan) -> list[StudyPlan]:
        """Return the plans of the studies beside this one that ask what ``plan`` asks."""
        plans = []
        for file in self.path.parent.glob(f"*/{self.file.name}"):
            if file != self.file:
                with suppress(RunFolderError):
                    plans.append(StudyFolder(file.parent).plan())
        return [other for other in plans if other and plan.is_same_question(other)]

    def relative(self, path: Path) -> str:
        """Return a run's path relative to the study, so that both can be moved together."""
        return Path(os.path.relpath(path, self.path)).as_posix()


def study_folder(
    study: Study,
    scale: float,
    data: str | None,
    runs: Path = RUNS,
    first_seed: int | None = None,
) -> StudyFolder:
    """Return a study's folder; another scale, other data or other seeds make another folder.

    Args:
        study: the study
        scale: fraction of the training images and epochs
        data: ``data.source`` where it is not the recipes' own
        first_seed: the first seed where it is not the study's own
        runs: folder of the runs
    """
    return StudyFolder(runs / "studies" / folder_name(study.name, scale, data, first_seed))


def write_comparison(
    comparison: Comparison, folder: Path, formats: Sequence[str] = ("svg",)
) -> list[str]:
    """Write table and figure.

    Args:
        comparison: the comparison
        folder: folder to write to
        formats: file formats of the figure

    Returns:
        Problems, in words.

    Raises:
        UserError: a format is unknown
        StorageError: a file can't be written
    """
    require_formats(formats)
    write_text(folder / "table.md", markdown(comparison))
    write_text(folder / "table.csv", csv_text(comparison))
    if comparison.by_image:
        write_text(folder / "flips.csv", csv_table(flips_rows(comparison)))
    figures = {name: (make, f"{alt}: {comparison.title}") for name, (make, alt) in FIGURES.items()}
    return write_figures(figures, comparison, folder, formats)[1]
