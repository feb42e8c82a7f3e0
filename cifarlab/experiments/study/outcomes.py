"""Read the runs of a comparison from their folders: each run's metric, grouped into rows."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from cifarlab.config.plugins import Plugin
from cifarlab.evaluation.run_metrics import RUN_METRICS, RunMetric
from cifarlab.experiments.study.by_image import compare_rows_by_image, with_wear
from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.definition import parse_metric
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.margin import require_margin
from cifarlab.experiments.study.plan import StudyPlan, Terms
from cifarlab.experiments.worker import Failure
from cifarlab.metrics.kinds import MetricConfig, measure_metrics
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import fingerprint, fingerprint_row
from cifarlab.report.compare import comparability_warnings, distinct_data_names
from cifarlab.report.settings import distinct_names
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import add_number, runs_of_row
from cifarlab.run_folder.predictions import Predictions
from cifarlab.run_folder.run_data import RunData, as_rows, dig, read_runs
from cifarlab.system.errors import RecipeError, RunFolderError, UserError
from cifarlab.system.files import is_folder
from cifarlab.system.formatting import number

AnyMetric = MetricConfig | RunMetric


def run_outcome(row: str, run: RunData, metric: AnyMetric) -> Outcome:
    """Return a run's values of a metric.

    Args:
        row: name of the run's row
        run: the run's data
        metric: what is compared

    Raises:
        RecipeError: the metric has the same value whatever a network predicts
    """
    if isinstance(classes := dig(run.provenance, "data", "classes"), list):
        metric.check(len(classes))
    test, val = (_value(run, split, metric) for split in ("test", "val"))
    failure = run.early_end if run.is_finished else "not finished"
    if not failure and test is val is None:
        failure = f"it has neither a test nor a validation {metric.facts.title}"
    facts = run.recipe.seed, fingerprint(run.recipe), run.data_name
    start = next(iter(as_rows(dig(run.provenance, "starts"))), {})
    return Outcome(row, *facts, test, val, failure, time=str(start.get("time", "")))


def failed_outcome(row: str, seed: int, failure: Failure | None) -> Outcome:
    """Return the outcome of a run that is not finished.

    Args:
        row: name of the run's row
        seed: the run's
        failure: why it has no result; None where it was not trained yet
    """
    reason = f"{failure.kind}: {failure.what}" if failure else "not trained yet"
    return Outcome(row, seed, failure=reason, is_pending=not (failure and failure.is_final))


def _value(run: RunData, split: str, metric: AnyMetric) -> float | None:
    """Return a split's value of the metric, from the predictions if the result lacks it."""
    if isinstance(metric, RunMetric):
        return metric.measure(run, split)
    value = number(dig(run.split(split), "metrics", metric.name))
    file = RunFolder(run.path).predictions / f"{split}.safetensors"
    if value is not None or not run.split(split) or not file.is_file():
        return value
    predictions = Predictions.read(file)
    return measure_metrics([metric], predictions.logits, predictions.labels)[metric.name]


def find_warnings(runs: Sequence[RunData]) -> list[str]:
    """Return warnings about comparing those of the runs that are finished."""
    return comparability_warnings([run for run in runs if run.is_complete])


def _find_metric(text: str, plugins: Sequence[Plugin], runs: Sequence[RunData]) -> AnyMetric:
    """Return a metric of cifarlab or of these plug-ins; if they lack it, of the runs' plug-ins."""
    if text in RUN_METRICS:
        RUN_METRICS[text].require([run for run in runs if run.is_complete])
        return RUN_METRICS[text]
    try:
        return parse_metric(text, plugins)
    except RecipeError:
        return parse_metric(text, [*plugins, *(p for run in runs for p in run.recipe.plugins)])


def gather_runs(
    names: Sequence[str], runs: Path, metric: AnyMetric | str, plugins: Sequence[Plugin]
) -> tuple[dict[str, list[RunData]], list[Outcome], list[str], AnyMetric]:
    """Read the runs that the names mean and group them into rows.

    Runs of one row have the same recipe, but for the seed, and the same images.

    Args:
        names: run folders, folders that contain run folders (also studies), or recipes
        runs: folder in which a recipe's finished runs are searched
        metric: as in ``compare_runs``
        plugins: as in ``compare_runs``

    Returns:
        The rows' names, the outcomes of their runs, notes for the reader, and the metric.

    Raises:
        RecipeError: a name is neither a folder nor a recipe
        RunFolderError: a recipe has no finished run
    """
    paths = [p for name in names for p in _run_folders(Path(name)) or _recipe_runs(name, runs)]
    run_data = read_runs(paths, predictions=False)
    notes = find_warnings(run_data)
    metric = _find_metric(metric, plugins, run_data) if isinstance(metric, str) else metric
    groups: dict[tuple[str, str], list[RunData]] = {}
    data_names = distinct_data_names(run_data)
    for run in run_data:
        groups.setdefault((fingerprint_row(run.recipe), data_names[run.path]), []).append(run)
    firsts = [row_runs[0] for row_runs in groups.values()]
    rows_named = distinct_names(
        [run.recipe_name for run in firsts],
        [run.recipe for run in firsts],
        [run.name for run in firsts],
    )
    rows: dict[str, list[RunData]] = {}
    outcomes: dict[tuple[str, int], Outcome] = {}
    for ((_, data), row_runs), name in zip(groups.items(), rows_named, strict=True):
        row = next(label for n in count(1) if (label := add_number(name, n)) not in rows)
        rows[row] = []
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
                rows[row].append(run)
    return rows, list(outcomes.values()), notes, metric


def compare_runs(
    names: Sequence[str],
    against: str | None = None,
    runs: Path = RUNS,
    metric: AnyMetric | str = "accuracy",
    plugins: Sequence[Plugin] = (),
    by: str | None = None,
    margin: float | None = None,
) -> Comparison:
    """Compare the runs that the names mean; those of a study as planned, by its plan.

    Args:
        names: run folders, folders that contain run folders (also studies), or recipes
        against: the baseline: a row, or a name as in ``names``; None for the first row
        runs: folder in which a recipe's finished runs are searched
        metric: what is compared, or its name, which may be a kind of ``plugins`` or of the runs'
        plugins: loaded ones
        by: ``image``: also compare the runs' answers to each image
        margin: also test whether rows are the same within it, or not worse by more; in points where
            the metric is a fraction, else in its unit

    Raises:
        RecipeError: a name is neither a folder nor a recipe, or the metric is unknown or always
            the same
        PluginError: two plug-ins of the runs have such a metric
        RunFolderError: a recipe has no finished run
        UserError: no run is finished, not all runs have the metric of one split, their seconds or
            corruptions can't be compared, or nothing is compared by ``by``
    """
    _require_way(by, metric)
    require_margin(margin)
    rows, outcomes, notes, metric = gather_runs(names, runs, metric, plugins)
    plan, missing = _read_plan(names)
    if against is not None and (len(rows) == 1 or against not in rows):
        try:
            rows, outcomes, notes, metric = gather_runs([against, *names], runs, metric, plugins)
        except RecipeError as error:
            hint = f"{error.hint}; the rows here are {', '.join(rows)}"
            raise RecipeError(error.what, hint) from error
        against, missing = None, []
    base = against or next(iter(rows))
    facts = metric.facts
    rows |= {o.row: [] for o in missing if o.row not in rows}
    if plan:
        terms = plan.settle_terms(fingerprint_row(rows[base][0].recipe), len(rows), facts, margin)
    else:
        terms = Terms.without_plan(facts, margin, _name_studies(rows))
    comparison = compare(
        "Comparison",
        list(rows),
        base,
        [*outcomes, *missing],
        metric=facts,
        plan=terms.plan,
        margin=terms.margin,
        n_tests=terms.n_tests,
    )
    comparison = comparison.with_notes([*notes, *terms.notes]).with_runs(rows, lambda _run: {})
    return _add_images(comparison, metric if by else None, runs, terms.time)


def _name_studies(rows: Mapping[str, Sequence[RunData]]) -> list[str]:
    """Return a note where runs are compared one by one that belong to a study with a plan."""
    studies = []
    for path in sorted({run.path.parent for runs in rows.values() for run in runs}):
        with suppress(RunFolderError):
            studies += [str(path)] if StudyFolder(path).plan() else []
    names = ", ".join(studies[:3]) + (", ..." if studies[3:] else "")
    note = (
        f"Runs of a study with a plan ({names}), chosen after they were there: that explores. "
        "Compare the study's folder for what its plan promises."
    )
    return [note] if studies else []


def _add_images(
    comparison: Comparison, metric: AnyMetric | None, runs: Path, plan_time: str
) -> Comparison:
    """Add how worn the test images are, and the rows image by image if there is a metric."""
    comparison, n_before = with_wear(comparison, [runs], plan_time)
    if not isinstance(metric, MetricConfig):
        return comparison
    n_others = max(1, len(comparison.rows) - 1 + n_before)
    return comparison._replace(by_image=compare_rows_by_image(comparison, metric, n_others))


def _require_way(by: str | None, metric: AnyMetric | str) -> None:
    """Raise UserError where nothing is compared by ``by``."""
    if by not in (None, "image"):
        raise UserError(f"nothing is compared by {by!r}", "take --by image, or leave it out")
    if by and (isinstance(metric, RunMetric) or metric in RUN_METRICS):
        what = "training seconds and accuracy under corruptions are of whole runs, not of images"
        raise UserError(f"{what}: there is nothing to compare by image", "leave out --by image")


def _read_plan(names: Sequence[str]) -> tuple[StudyPlan | None, list[Outcome]]:
    """Return the plan of a study, if nothing else is named, and its runs that are not finished."""
    folder = StudyFolder(names[0]) if len(names) == 1 else None
    if folder is None or not (plan := folder.plan()):
        return None, []
    return plan, [failed_outcome(r.row, r.seed, r.failure) for r in folder.runs() if not r.run]


def _run_folders(path: Path) -> list[Path]:
    """Return a run folder, or all run folders in a folder; an empty list if it is no folder.

    Of a study, return the runs in its record, the baseline's first.
    """
    if RunFolder(path).exists:
        return [path]
    folder = StudyFolder(path)
    if folder.content():
        baseline = folder.study().baseline_name
        runs = sorted(folder.runs(), key=lambda run: run.row != baseline)
        names = [run.run for run in runs if run.run]
        if missing := [name for name in names if not RunFolder(path / name).exists]:
            raise RunFolderError(
                f"the study in {path} lists {', '.join(missing)}, which is gone",
                "run the study again: it trains what is missing",
            )
        return [path / name for name in names]
    return sorted(file.parent for file in path.glob("*/recipe.yaml")) if is_folder(path) else []


def _recipe_runs(name: str, runs: Path) -> list[Path]:
    if paths := [folder.path for folder in runs_of_row(find(name), runs)]:
        return paths
    raise RunFolderError(
        f"there is no finished run of {name} under {runs}", f"start with: cifarlab train {name}"
    )
