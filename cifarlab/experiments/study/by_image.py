"""A comparison's rows image by image, and how worn the test images are that it is made on."""

from collections.abc import Iterable
from pathlib import Path

from cifarlab.evaluation.by_image import ImageComparison, compare_images
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.verdicts import correct
from cifarlab.metrics.kinds import MetricConfig
from cifarlab.run_folder.openings import describe_wear, find_runs
from cifarlab.run_folder.removals import find_removals
from cifarlab.run_folder.run_data import dig


def compare_rows_by_image(
    comparison: Comparison, metric: MetricConfig, n_others: int
) -> tuple[ImageComparison, ...]:
    """Compare each row that has pairs with the baseline, image by image.

    p is corrected for the rows like that of the comparison. These images and other seeds are the
    comparison's own question, so their interval is the row's.

    Args:
        comparison: with its runs
        metric: that of the comparison
        n_others: how many recipes beside the baseline were judged on these images

    Raises:
        RunFolderError: a run keeps no predictions, or damaged ones
        UserError: the runs were not measured on the same images
    """
    runs = {
        name: {run.recipe.seed: run for run in of_row if run.is_finished}
        for name, of_row in comparison.runs_by_row.items()
    }
    base = runs[comparison.baseline]
    results: list[ImageComparison] = []
    for row in comparison.rows:
        if row.pairs:
            pairs = [(runs[row.name][seed], base[seed]) for seed in row.values if seed in base]
            names, split = (row.name, comparison.baseline), comparison.split
            images = compare_images(*names, pairs, split, metric, row.plan, n_others)
            seeds = row.pairs.difference.interval
            results.append(images._replace(intervals=images.intervals._replace(seeds=seeds)))
    ps = correct({images.row: images.p for images in results}, comparison.n_tests)
    return tuple(images._replace(p=ps.get(images.row)) for images in results)


def with_wear(
    comparison: Comparison, folders: Iterable[Path], plan_time: str = ""
) -> tuple[Comparison, int]:
    """Add a note where other recipes were judged on the comparison's test images.

    Of a comparison by a plan those count that came before the plan named its rows; of any other one
    all that are there, since its rows were named just now. Runs that were deleted since count, too.

    Args:
        comparison: with its runs
        folders: where runs are searched, beside those next to the comparison's
        plan_time: when the plan was written; empty without one

    Returns:
        The comparison, and how many other recipes there are.
    """
    data, images = _find_images(comparison)
    if comparison.split != "test" or not comparison.metric.of_split or data is None:
        return comparison, 0
    tested_runs = [run for of_row in comparison.runs for run in of_row if run.split("test")]
    folders = list(folders)
    paths = {path for folder in folders for path in find_runs(folder)}
    parents = {run.path.parent for run in tested_runs}
    paths |= {file.parent for parent in parents for file in parent.glob("*/recipe.yaml")}
    own_runs = [run.path for run in tested_runs]
    removals = [removed for folder in {*folders, *parents} for removed in find_removals(folder)]
    note, n_others = describe_wear(paths, data, own_runs, images, plan_time, removals)
    return comparison._replace(notes=(*comparison.notes, *filter(None, [note]))), n_others


def _find_images(comparison: Comparison) -> tuple[str | None, str | None]:
    """Return the fingerprints of the data and of the test images of the baseline's runs."""
    runs = comparison.runs_by_row[comparison.baseline]
    prints = (
        [dig(run.provenance, "data", "fingerprint") for run in runs],
        [run.split("test").get("fingerprint") for run in runs],
    )
    data, images = (next((str(text) for text in texts if text), None) for texts in prints)
    return data, images
