"""A comparison's rows image by image, and how worn the test images are that it is made on."""

from collections.abc import Iterable
from pathlib import Path

from cifarlab.evaluation.by_image import ImageComparison, compare_images
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.verdicts import fit_plan
from cifarlab.metrics.kinds import MetricConfig
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.openings import count_openings, find_runs, read_recipe_text
from cifarlab.run_folder.removals import find_removals
from cifarlab.run_folder.run_data import dig


def compare_rows_by_image(
    comparison: Comparison, metric: MetricConfig, n_others: int
) -> tuple[ImageComparison, ...]:
    """Compare each row that has pairs with the baseline, image by image.

    Args:
        comparison: with its runs
        metric: what is tested_runs
        n_others: how many recipes beside the baseline were judged on these images

    Raises:
        RunFolderError: a run keeps no predictions, or damaged ones
        UserError: the runs were not measured on the same images
    """
    runs = {
        row.name: {run.recipe.seed: run for run in of_row if run.is_finished}
        for row, of_row in zip(comparison.rows, comparison.runs, strict=True)
    }
    base, results = runs[comparison.baseline], []
    for row in comparison.rows:
        if row.pairs:
            pairs = [(runs[row.name][seed], base[seed]) for seed in row.values if seed in base]
            plan = fit_plan(comparison.plan, len(pairs), row.p is not None)
            names, split = (row.name, comparison.baseline), comparison.split
            results.append(compare_images(*names, pairs, split, metric, plan, n_others))
    return tuple(results)


def with_wear(comparison: Comparison, folders: Iterable[Path]) -> tuple[Comparison, int]:
    """Add a note where other recipes were judged on the comparison's test images before.

    Args:
        comparison: with its runs
        folders: where runs are searched, beside those next to the comparison's

    Returns:
        The comparison, and how many other recipes there are.
    """
    data = _data_fingerprint(comparison)
    if comparison.split != "test" or not comparison.metric.of_split or data is None:
        return comparison, 0
    tested_runs = [run for of_row in comparison.runs for run in of_row if run.split("test")]
    folders = list(folders)
    paths = {path for folder in folders for path in find_runs(folder)}
    parents = {run.path.parent for run in tested_runs}
    paths |= {file.parent for parent in parents for file in parent.glob("*/recipe.yaml")}
    removals = [removed for folder in {*folders, *parents} for removed in find_removals(folder)]
    openings = count_openings(paths, data, removals)
    own_recipes = {read_recipe_text(RunFolder(run.path)).digest for run in tested_runs}
    n_before = len(openings.recipes - own_recipes)
    if not n_before:
        return comparison, 0
    recipes = "1 other recipe was" if n_before == 1 else f"{n_before:,} other recipes were"
    note = (
        f"{recipes} judged on these test images before ({openings.n_openings:,} openings in all). "
        "As far as their results led here, a part of the best one's lead is the luck of these "
        "images: 'cifarlab compare --by image' corrects p for other images."
    )
    return comparison._replace(notes=(*comparison.notes, note)), n_before


def _data_fingerprint(comparison: Comparison) -> str | None:
    """Return the fingerprint of the data that the baseline's runs were measured on."""
    for row, of_row in zip(comparison.rows, comparison.runs, strict=True):
        if row.name == comparison.baseline:
            prints = (dig(run.provenance, "data", "fingerprint") for run in of_row)
            return next((str(text) for text in prints if text), None)
    return None
