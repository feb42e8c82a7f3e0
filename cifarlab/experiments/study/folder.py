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

from cifarlab.config.plugins import load_named_plugins
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.figure import FIGURES
from cifarlab.experiments.study.plan import StudyPlan
from cifarlab.experiments.study.table import csv_text, markdown
from cifarlab.experiments.worker import Failure
from cifarlab.plots.spec import require_formats
from cifarlab.recipes.text import validate_config
from cifarlab.report.by_image import flips_rows
from cifarlab.report.write import write_figures
from cifarlab.run_folder.collection import Collection
from cifarlab.run_folder.schemas import StoredModel
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import write_text
from cifarlab.system.formatting import dicts_to_csv


class StoredRun(StoredModel):
    """The state of one run of a study."""

    row: str
    seed: int
    fingerprint: str = ""
    run: str | None = None
    failure: Failure | None = None


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
    folder = "studies"
    schema = StudyFile
    mend = "remove it: the runs beside it are whole, and are taken up again"

    def study(self) -> Study:
        """Return the study, whose plug-ins are loaded.

        Raises:
            RunFolderError: the file is damaged
            RecipeError: the study in it is not valid
            PluginError: a plug-in of the study can't be loaded
        """
        tree = load_named_plugins(self.content().get("study"), self.path)
        return validate_config(Study, tree, str(self.file))

    def runs(self) -> list[StoredRun]:
        """Return the runs in study.json.

        Raises:
            RunFolderError: the file is damaged
        """
        return [StoredRun.model_validate(run) for run in self.content().get("runs", [])]

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


def write_comparison(
    comparison: Comparison, folder: Path, formats: Sequence[str] = ("svg",)
) -> None:
    """Write table and figure.

    Args:
        comparison: the comparison
        folder: folder to write to
        formats: file formats of the figure

    Raises:
        UserError: a format is unknown
        StorageError: a file can't be written
    """
    require_formats(formats)
    write_text(folder / "table.md", markdown(comparison))
    write_text(folder / "table.csv", csv_text(comparison))
    if comparison.by_image:
        write_text(folder / "flips.csv", dicts_to_csv(flips_rows(comparison.by_image)))
    figures = {name: (make, f"{alt}: {comparison.title}") for name, (make, alt) in FIGURES.items()}
    write_figures(figures, comparison, folder, formats)
