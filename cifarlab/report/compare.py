"""Several runs compared: the table, and warnings where their accuracies can't be compared."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cifarlab.report.settings import Difference, differences
from cifarlab.report.tables import Table
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData, dig
from cifarlab.run_folder.values import flatten
from cifarlab.system.formatting import count, interval, percent, seconds, to_line

_HASH = re.compile("fingerprint|sha256")
_COLUMNS = (
    "run",
    "recipe",
    "seed",
    "data",
    "validation",
    "test",
    "95 % interval",
    "n",
    "training",
    "parameters",
    "state",
)


def comparison_table(runs: Sequence[RunData], links: Sequence[str]) -> Table:
    """Return a table with a row per run; an unfinished one has its last validation accuracy."""
    rows = []
    for run, link in zip(runs, links, strict=True):
        test, val = run.split("test"), run.split("val").get("accuracy")
        if not run.is_finished and run.lines:
            val = float(run.curve("val", "accuracy")[-1])
        train_time = seconds(dig(run.result, "cost", "train_seconds"))
        recipe = [link, run.recipe_name, str(run.recipe.seed), run.data_name]
        accuracies = [percent(val), percent(test.get("accuracy")), interval(test.get("interval"))]
        counts = [count(test.get("n")), train_time, count(run.result.get("parameters"))]
        rows.append([*recipe, *accuracies, *counts, describe_state(run)])
    return Table(_COLUMNS, rows)


def run_differences(runs: Sequence[RunData]) -> tuple[list[Difference], list[Difference]]:
    """Return the settings that differ between runs, and the numbers and texts of their results."""
    results = [flatten(run.result) for run in runs]
    rows = differences(results, to_line)
    numbers = [(key, values) for key, values in rows if not _HASH.search(key)]
    return differences([run.recipe for run in runs]), numbers


def describe_state(run: RunData) -> str:
    """Return ``finished``, what ended the run early, or the epochs of an unfinished one."""
    if run.is_finished:
        return run.early_end or "finished"
    epochs = run.last_epoch
    return f"unfinished: {epochs} epoch{'' if epochs == 1 else 's'} so far"


def comparability_warnings(runs: Sequence[RunData]) -> list[str]:
    """Return why the runs' accuracies can't be compared; empty where they can."""
    messages = []
    names = _distinct(run.data_name for run in runs)
    prints = _distinct(dig(run.provenance, "data", "fingerprint") for run in runs)
    if len(names) > 1:
        messages.append(
            f"These runs were measured on different data ({', '.join(names)}): "
            "their accuracies can't be compared."
        )
    elif len(prints) > 1:
        messages.append(
            f"All runs call their data {names[0]}, but the data's fingerprints differ: they did "
            "not see the same images, so their accuracies can't be compared."
        )
    for split, word in SPLIT_NAMES.items() if len(names) == 1 else ():
        sizes = _distinct(run.split(split).get("n") for run in runs)
        images = _distinct(run.split(split).get("fingerprint") for run in runs)
        if len(sizes) > 1:
            counts = ", ".join(map(count, sizes))
            messages.append(f"The {word} splits differ in size ({counts} images).")
        elif len(prints) == 1 and len(images) > 1:
            messages.append(
                f"The {word} images differ between runs: see data.split_seed and "
                f"data.{split}_fraction. Differences of {word} accuracy are differences of images, "
                "too."
            )
    if not all(run.is_finished for run in runs):
        messages.append("Unfinished runs are shown as far as they have come.")
    if early_ends := [f"{run.name} {run.early_end}" for run in runs if run.early_end]:
        messages.append(
            f"Not what their recipes give, since they were ended before: {'; '.join(early_ends)}."
        )
    return messages


def distinct_data_names(runs: Sequence[RunData]) -> dict[Path, str]:
    """Return the name of each run's data, with a fingerprint where one name has several.

    The images in a folder may change while its path, which is in the recipe, does not.
    """
    prints = {run.path: str(dig(run.provenance, "data", "fingerprint")) for run in runs}
    distinct = Counter(name for name, _ in {(run.data_name, prints[run.path]) for run in runs})
    return {
        run.path: run.data_name
        + (f" ({prints[run.path][:8]})" if distinct[run.data_name] > 1 else "")
        for run in runs
    }


def _distinct(values: Any) -> list[Any]:
    return list(dict.fromkeys(v for v in values if isinstance(v, str | int | float)))
