"""Which run of a study is exported."""

from pathlib import Path
from statistics import fmean
from typing import Any

from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import RunFolderError, UserError


def find_run(path: Path, row: str | None = None) -> tuple[RunFolder, dict[str, Any] | None]:
    """Return the run to export, and of a study's why: ``study``, ``row``, ``seed``, ``reason``.

    A study's row is the one that is named, else that of the highest mean accuracy on validation,
    never on test: whoever chooses by the test images measures their luck. Of the row it is the
    first seed, not the best one, for the same reason.

    Args:
        path: the folder of a run or of a study
        row: name of the study's row

    Raises:
        RunFolderError: there is neither, or no run of the row has finished
        UserError: the study has no such row, ``row`` names one of a run, or without a name there is
            no validation accuracy to choose by
    """
    study = StudyFolder(path)
    if not study.file.is_file():
        if row is not None:
            raise UserError(f"{path} is no study: it has no row {row!r}", "leave out --row")
        return RunFolder(path).require(), None
    runs: dict[str, dict[int, RunFolder]] = {}
    for entry in study.content().get("runs", []):
        folder = RunFolder(path / (entry.get("run") or ""))
        if entry.get("run") and folder.is_finished:
            runs.setdefault(entry["row"], {})[entry["seed"]] = folder
    if not runs:
        what = f"no run of the study in {path} has finished"
        raise RunFolderError(what, "run it to its end: cifarlab study ... --resume")
    reason = "named"
    if row is None:
        means = {name: _mean_accuracy(seeds) for name, seeds in runs.items()}
        if unknown := [name for name, mean in means.items() if mean is None]:
            what = f"row {unknown[0]!r} of {path} held nothing out: the best row is not known"
            raise UserError(what, "name one: --row NAME")
        row = max(means, key=lambda name: means[name] or 0.0)
        reason = "highest mean validation accuracy"
    if row not in runs:
        what = f"the study in {path} has no row {row!r} with a finished run"
        raise UserError(what, f"take one of {', '.join(runs)}")
    seed = min(runs[row])
    return runs[row][seed], {
        "study": path.resolve().name,
        "row": row,
        "seed": seed,
        "reason": reason,
    }


def _mean_accuracy(seeds: dict[int, RunFolder]) -> float | None:
    """Return the mean accuracy on validation; None where a run has none."""
    values = [dig(folder.result() or {}, "val", "accuracy") for folder in seeds.values()]
    return None if None in values else fmean(values)
