"""Which finished runs of a study go on to something else: an export, a combination."""

from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import RunFolderError, UserError


class FinishedRuns(NamedTuple):
    """Runs by seed, and of a study why these: ``study``, ``row``, ``reason``.

    Also ``n_finished`` of the row's ``n_runs``: those that have not finished are left out.
    """

    folders: list[RunFolder]
    choice: dict[str, Any] | None


def find_runs(path: Path, row: str | None = None) -> FinishedRuns:
    """Return the run in a folder, or the finished runs of one row of the study there.

    It is the row that is named, the only one, or that of the highest mean accuracy on validation,
    never on test: whoever chooses by the test images measures their luck.

    Args:
        path: the folder of a run or of a study
        row: name of the study's row

    Raises:
        RunFolderError: there is neither, or no run of the study has finished
        UserError: the study has no such row, ``row`` names one of a run, or without a name there is
            no validation accuracy to choose by
    """
    study = StudyFolder(path)
    if not study.file.is_file():
        if row is not None:
            raise UserError(f"{path} is no study: it has no row {row!r}", "leave out --row")
        return FinishedRuns([RunFolder(path).require()], None)
    rows: dict[str, dict[int, RunFolder]] = {}
    runs = study.runs()
    for run in runs:
        folder = RunFolder(path / (run.run or ""))
        if run.run and folder.is_finished:
            rows.setdefault(run.row, {})[run.seed] = folder
    if not rows:
        what = f"no run of the study in {path} has finished"
        raise RunFolderError(what, "run it to its end: cifarlab study ... --resume")
    row, reason = _find_best_row(path, rows) if row is None else (row, "named")
    if row not in rows:
        what = f"the study in {path} has no row {row!r} with a finished run"
        raise UserError(what, f"take one of {', '.join(rows)}")
    folders = [folder for _, folder in sorted(rows[row].items())]
    counts = {"n_finished": len(folders), "n_runs": sum(run.row == row for run in runs)}
    return FinishedRuns(folders, {"study": str(path), "row": row, "reason": reason, **counts})


def _find_best_row(path: Path, rows: dict[str, dict[int, RunFolder]]) -> tuple[str, str]:
    """Return a row of the study at ``path``, and why it is that one. Raises UserError."""
    if len(rows) == 1:
        return next(iter(rows)), "the only one"
    means = {}
    for row, seeds in rows.items():
        values = [dig(folder.result() or {}, "val", "accuracy") for folder in seeds.values()]
        if None in values:
            what = f"row {row!r} of {path} held nothing out: the best row is not known"
            raise UserError(what, f"name one with --row: {', '.join(rows)}")
        means[row] = fmean(values)
    return max(means, key=lambda row: means[row]), "highest mean validation accuracy"
