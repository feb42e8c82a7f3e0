"""From run folders to what a comparison needs: each run's accuracies, grouped into rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cifarlab.errors import RunFolderError
from cifarlab.recipe import Recipe, fingerprint
from cifarlab.recipe.text import validated
from cifarlab.recipes import find
from cifarlab.report.compare import warnings
from cifarlab.report.content import Run, dig, read_runs
from cifarlab.report.words import number
from cifarlab.run import RunFolder
from cifarlab.run.naming import RUNS, finished_runs
from cifarlab.storage import is_folder
from cifarlab.study.comparison import Comparison, Outcome, compare
from cifarlab.study.definition import Study
from cifarlab.study.folder import StudyFolder


class Found(NamedTuple):
    """Rows in the order in which they were asked for, their runs' outcomes, and what to know."""

    rows: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    notes: tuple[str, ...]


def outcome(row: str, run: Run) -> Outcome:
    """What a run's folder says, as one run of ``row``."""
    accuracies = {
        name: number(dig(run.split(split), "accuracy"))
        for name, split in (("test", "test"), ("validation", "val"))
    }
    failure = "" if run.finished else "not finished"
    if run.finished and all(value is None for value in accuracies.values()):
        failure = "it has neither a test nor a validation accuracy"
    mine = fingerprint(run.recipe)
    return Outcome(row, run.recipe.seed, mine, run.data_name, **accuracies, failure=failure)


def read_finished(paths: Sequence[Path]) -> tuple[list[Run], list[str]]:
    """Runs without their predictions, and what forbids comparing those that finished."""
    runs = read_runs(paths, predictions=False)
    return runs, warnings([run for run in runs if run.finished])


def without_seed(recipe: Recipe) -> str:
    """The fingerprint that all seeds of a recipe share."""
    return fingerprint(recipe.model_copy(update={"seed": 0}))


def gather(names: Sequence[str], runs: Path = RUNS) -> Found:
    """The runs that ``names`` mean, grouped by their recipes without the seed.

    A name is a run folder, a study's folder or another one with run folders in it, or a recipe,
    which means its finished runs under ``runs``. Raises RecipeError for a name that is none of
    them, and RunFolderError for a recipe without a finished run.
    """
    paths: list[Path] = []
    for name in names:
        paths += _folders(Path(name)) or _of_recipe(name, runs)
    read, notes = read_finished(paths)
    groups: dict[str, list[Run]] = {}
    for run in read:
        groups.setdefault(without_seed(run.recipe), []).append(run)
    rows: list[str] = []
    outcomes: list[Outcome] = []
    for mine in groups.values():
        row = _free_name(mine[0].recipe_name, rows)
        rows.append(row)
        if (share := mine[0].recipe.data.share) < 1:
            notes.append(f"{row}: trained on {share:g} of the training images (data.share).")
        seeds: set[int] = set()
        for run in sorted(mine, key=lambda run: not run.finished):
            if run.recipe.seed in seeds:
                notes.append(f"{row}, seed {run.recipe.seed}: {run.name} is another run; left out.")
                continue
            seeds.add(run.recipe.seed)
            outcomes.append(outcome(row, run))
    return Found(tuple(rows), tuple(outcomes), tuple(notes))


def compare_runs(names: Sequence[str], against: str | None = None, runs: Path = RUNS) -> Comparison:
    """Compare the runs that ``names`` mean; the baseline is ``against``, else the first.

    Raises as ``gather`` and ``compare`` do.
    """
    found = gather([*([] if against is None else [against]), *names], runs)
    title = "Comparison"
    return compare(title, found.rows, found.rows[0], found.outcomes).with_notes(found.notes)


def _folders(path: Path) -> list[Path]:
    """A run folder, or all run folders that lie in a folder; none where it is no folder.

    Of a study, the runs that it names, its baseline's first.
    """
    if RunFolder(path).exists:
        return [path]
    if told := StudyFolder(path).content():
        study = validated(Study, told.get("study"), str(path / "study.json"))
        runs = [run for run in told.get("runs", []) if run.get("run")]
        runs.sort(key=lambda run: run["row"] != study.reference)
        return [path / run["run"] for run in runs]
    return sorted(file.parent for file in path.glob("*/recipe.yaml")) if is_folder(path) else []


def _of_recipe(name: str, runs: Path) -> list[Path]:
    recipe = find(name)
    wanted = without_seed(recipe)
    found = [
        folder.path
        for folder in finished_runs(runs).values()
        if without_seed(folder.recipe()) == wanted
    ]
    if not found:
        raise RunFolderError(
            f"there is no finished run of {name} under {runs}", f"start with: cifarlab train {name}"
        )
    return found


def _free_name(name: str, taken: Sequence[str]) -> str:
    """``name``, numbered where another row has it already."""
    number = 1
    while (free := name if number == 1 else f"{name}-{number}") in taken:
        number += 1
    return free
