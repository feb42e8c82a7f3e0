"""From run folders to what a comparison needs: each run's metric, grouped into rows."""

from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from cifarlab.config.plugins import load_named_plugins
from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.metrics.kinds import Accuracy, MetricConfig, measure_metrics
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint, validate_config
from cifarlab.report.compare import warnings
from cifarlab.report.settings import distinct_names
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import RUNS, finished_runs
from cifarlab.run_folder.predictions import Predictions
from cifarlab.run_folder.run_data import RunData, dig, read_runs
from cifarlab.system.errors import PluginError, RecipeError, RunFolderError
from cifarlab.system.files import is_folder
from cifarlab.system.formatting import number

ACCURACY = Accuracy()


def run_outcome(row: str, run: RunData, metric: MetricConfig) -> Outcome:
    """What a run's folder says, as one run of ``row``."""
    values = {split: _value(run, split, metric) for split in ("test", "val")}
    failure = run.early_end if run.is_finished else "not finished"
    if not failure and all(value is None for value in values.values()):
        failure = f"it has neither a test nor a validation {metric.facts.title}"
    recipe_fingerprint = fingerprint(run.recipe)
    return Outcome(
        row, run.recipe.seed, recipe_fingerprint, run.data_name, **values, failure=failure
    )


def _value(run: RunData, split: str, metric: MetricConfig) -> float | None:
    """The metric that the result has of a split; one that it has not is computed."""
    value = number(dig(run.split(split), "metrics", metric.name))
    file = RunFolder(run.path).predictions / f"{split}.safetensors"
    if value is not None or not run.split(split) or not file.is_file():
        return value
    predictions = Predictions.read(file)
    return measure_metrics([metric], predictions.logits, predictions.labels)[metric.name]


def read_finished(paths: Sequence[Path]) -> tuple[list[RunData], list[str]]:
    """Runs without their predictions, and what forbids comparing those that came to their end."""
    runs = read_runs(paths, predictions=False)
    return runs, warnings([run for run in runs if run.is_finished and not run.early_end])


def without_seed(recipe: Recipe) -> str:
    """The fingerprint that all seeds of a recipe share."""
    return fingerprint(recipe.model_copy(update={"seed": 0}))


def gather_runs(
    names: Sequence[str], runs: Path = RUNS, metric: MetricConfig = ACCURACY
) -> tuple[list[str], list[Outcome], list[str]]:
    """Return rows, their runs' outcomes, and what to know of the runs that ``names`` mean.

    A name is a run folder, a study's folder or another one with run folders in it, or a recipe,
    which means its finished runs under ``runs``. A row is their recipe without the seed, and their
    images. Raises RecipeError for a name that is none of them, and RunFolderError for a recipe
    without a finished run.
    """
    paths = [
        path for name in names for path in _run_folders(Path(name)) or _recipe_runs(name, runs)
    ]
    read, notes = read_finished(paths)
    groups: dict[tuple[str, str], list[RunData]] = {}
    data_names = _data_names(read)
    for run in read:
        groups.setdefault((without_seed(run.recipe), data_names[run.path]), []).append(run)
    firsts = [row_runs[0] for row_runs in groups.values()]
    rows_named = distinct_names(
        [run.recipe_name for run in firsts],
        [run.recipe for run in firsts],
        [run.name for run in firsts],
    )
    rows: list[str] = []
    outcomes: dict[tuple[str, int], Outcome] = {}
    for ((_, data), row_runs), name in zip(groups.items(), rows_named, strict=True):
        row = _unique_name(name, rows)
        rows.append(row)
        if (fraction := row_runs[0].recipe.data.train_subset_fraction) < 1:
            notes.append(
                f"{row}: trained on {fraction:g} of the training images "
                "(data.train_subset_fraction)."
            )
        pairs = [(run_outcome(row, run, metric), run) for run in row_runs]
        for outcome, run in sorted(pairs, key=lambda pair: bool(pair[0].failure)):
            if (row, outcome.seed) in outcomes:
                notes.append(f"{row}, seed {outcome.seed}: {run.name} is another run; left out.")
            else:
                outcomes[row, outcome.seed] = outcome._replace(data=data)
    return rows, list(outcomes.values()), notes


def _data_names(runs: Sequence[RunData]) -> dict[Path, str]:
    """What each run's data are called: by name, with a fingerprint where one name has several.

    The images of a folder change while its path, which the recipe has, does not.
    """
    prints = {run.path: str(dig(run.provenance, "data", "fingerprint")) for run in runs}
    distinct = Counter(name for name, _ in {(run.data_name, prints[run.path]) for run in runs})
    return {
        run.path: run.data_name
        + (f" ({prints[run.path][:8]})" if distinct[run.data_name] > 1 else "")
        for run in runs
    }


def compare_runs(
    names: Sequence[str],
    against: str | None = None,
    runs: Path = RUNS,
    metric: MetricConfig = ACCURACY,
) -> Comparison:
    """Compare the runs that ``names`` mean; the baseline is ``against``, else the first.

    ``against`` is one of their rows, or a name as in ``names``. Raises as ``gather_runs`` and
    ``compare`` do.
    """
    rows, outcomes, notes = gather_runs(names, runs, metric)
    if against is not None and (len(rows) == 1 or against not in rows):
        try:
            rows, outcomes, notes = gather_runs([against, *names], runs, metric)
        except RecipeError as error:
            hint = f"{error.hint}; the rows here are {', '.join(rows)}"
            raise RecipeError(error.what, hint) from error
        against = None
    comparison = compare("Comparison", rows, against or rows[0], outcomes, metric=metric.facts)
    return comparison.with_notes(notes)


def _run_folders(path: Path) -> list[Path]:
    """A run folder, or all run folders that lie in a folder; none where it is no folder.

    Of a study, the runs that it names, its baseline's first.
    """
    if RunFolder(path).exists:
        return [path]
    if stored := StudyFolder(path).content():
        study = validate_config(
            Study, load_named_plugins(stored.get("study"), path), str(path / "study.json")
        )
        runs = [run for run in stored.get("runs", []) if run.get("run")]
        runs.sort(key=lambda run: run["row"] != study.baseline_name)
        return [path / run["run"] for run in runs]
    return sorted(file.parent for file in path.glob("*/recipe.yaml")) if is_folder(path) else []


def _recipe_runs(name: str, runs: Path) -> list[Path]:
    recipe = find(name)
    wanted = without_seed(recipe)
    paths = [
        folder.path
        for early in (False, True)  # those that something ended early are named, not compared
        for folders in finished_runs(runs, ended_early=early).values()
        if _seedless_fingerprint(folders[0]) == wanted
        for folder in folders
    ]
    if not paths:
        raise RunFolderError(
            f"there is no finished run of {name} under {runs}", f"start with: cifarlab train {name}"
        )
    return paths


def _seedless_fingerprint(folder: RunFolder) -> str | None:
    """``without_seed`` of a run; None where its plug-ins may not be loaded."""
    try:
        return without_seed(folder.recipe())
    except PluginError:
        return None


def _unique_name(name: str, taken: Sequence[str]) -> str:
    """``name``, numbered where another row has it already."""
    numbered = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(candidate for candidate in numbered if candidate not in taken)
