"""What is published of the five reports' rows and searches: docs/reports/.

docs/reports/<recipe>/seed-<S>/   metrics.jsonl, result.json, recipe.yaml, provenance.json,
                                  test.safetensors (logits as float16; no weights) of one run, and
                                  cost.json: its hours
docs/reports/searches/<name>/     table, page and figures of a search, and its best trial's run
docs/reports/costs.json           hours of a whole run by machine and recipe, from its first steps
"""

import shutil
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.experiments.study.agreement import Agreement, judge_difference
from cifarlab.experiments.study.comparison import ComparisonRow, compare
from cifarlab.experiments.study.outcomes import run_outcome
from cifarlab.metrics.kinds import Accuracy
from cifarlab.recipes.catalog import Reported, find, shipped_recipes
from cifarlab.recipes.text import fingerprint, fingerprint_row
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import MetricsLog
from cifarlab.run_folder.predictions import Predictions
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.stats.sequential import Plan
from cifarlab.system.files import read_json, write_arrays, write_json

DOCS = Path(__file__).parents[1] / "docs"
REPORTS = ("kth2022", "kth2024", "asha2021", "nyu2024", "fudan")
# of kth2024's best network, with all techniques and 400 epochs
_CHANGES_OF_ALL = ("adam*", "cosine*", "warmup", "step-decay", "combined-standardised")
# patterns of rows, and the row that their differences are from; the first that matches counts
BASELINES = {
    "kth2022/norm-*": "kth2022/norm-batch",
    "kth2022/combined-norm-*": "kth2022/combined-norm-batch",
    "kth2022/*cifar100": "kth2022/resnet-cifar100",
    "kth2022/resnet-*": "kth2022/resnet-constant",
    "kth2022/noisy-labels": "kth2022/resnet-deeper",
    "kth2022/test-views": "kth2022/resnet-deeper",
    "kth2022/*": "kth2022/baseline",
    **{f"kth2024/{name}": "kth2024/combined" for name in _CHANGES_OF_ALL},
    "kth2024/exchanged-*": "kth2024/exchanged",
    "kth2024/dropout-only-longer": "kth2024/dropout-only",
    "kth2024/*": "kth2024/baseline",
    "asha2021/classic*": "asha2021/classic",
    "asha2021/*": "asha2021/resnet34-schedule",
    "nyu2024/competition": "nyu2024/competition",
    "nyu2024/*": "nyu2024/resnet",
    "fudan/plain-*": "fudan/plain-20",
    "fudan/residual-*": "fudan/plain-20",
    **{f"fudan/resnet{depth}*": f"fudan/resnet{depth}" for depth in (10, 16, 48)},
    "fudan/*": "fudan/resnet24",
}
RUN_FILES = ("format.json", "metrics.jsonl", "result.json", "recipe.yaml", "provenance.json")
SEARCH_FILES = ("search.json", "page.md", "table.csv", "best.yaml")


def recipe_names() -> list[str]:
    """Return the recipes of all reports, report by report."""
    return [n for report in REPORTS for n in shipped_recipes() if n.startswith(f"{report}/")]


def run_target(recipe: str, seed: int) -> Path:
    """Return where a run is published."""
    return DOCS / "reports" / recipe / f"seed-{seed}"


def search_target(name: str) -> Path:
    """Return where a search is published."""
    return DOCS / "reports" / "searches" / name


def published_runs() -> list[Path]:
    """Return the folders of the runs that are published; those of searches are not among them."""
    return sorted(path.parent for path in (DOCS / "reports").rglob("seed-*/result.json"))


def published_fingerprints() -> set[str]:
    """Return the fingerprints of the recipes, seeds included, whose runs are published."""
    return {fingerprint(RunFolder(path).recipe()) for path in published_runs()}


def read_costs() -> dict[str, dict[str, float]]:
    """Return the hours of a whole run by machine and row."""
    return read_json(costs_file(), "delete it") or {}


def costs_file() -> Path:
    """Return the file of the costs."""
    return DOCS / "reports" / "costs.json"


def publish_run(run: Path, target: Path, seconds: float) -> None:
    """Copy what is published of a finished run.

    Args:
        run: its folder
        target: where it is published; what is there is replaced
        seconds: that passed while it ran, pauses left out
    """
    _replace(target, _copy_run(run, target.with_name(f".{target.name}.part"), seconds))


def publish_search(search: Path, target: Path, seconds: float) -> None:
    """Copy what is published of a search that ended; arguments as of ``publish_run``."""
    part = target.with_name(f".{target.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(search / "figures", part / "figures")
    for name in SEARCH_FILES:
        shutil.copyfile(search / name, part / name)
    _copy_run(search / "best", part / "best", seconds)
    _write_cost(part, search, seconds)
    _replace(target, part)


def _copy_run(run: Path, folder: Path, seconds: float) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in RUN_FILES:
        shutil.copyfile(run / name, folder / name)
    predictions = Predictions.read(run / "predictions" / "test.safetensors")
    arrays = {"logits": predictions.logits.astype(np.float16)}
    write_arrays(folder / "test.safetensors", arrays, {"fingerprint": predictions.fingerprint})
    _write_cost(folder, run, seconds)
    return folder


def _replace(target: Path, part: Path) -> None:
    """Put a complete folder in its place: whatever kills us, none there is half written."""
    if target.exists():
        old = target.with_name(f".{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        shutil.rmtree(old)
    part.rename(target)


def _write_cost(folder: Path, source: Path, seconds: float) -> None:
    write_json(
        folder / "cost.json", {"hours": round(min(measured_hours(source), seconds / 3600), 4)}
    )


def measured_hours(folder: Path) -> float:
    """Return the hours of training and validation of all runs in a folder, pauses included."""
    logs = folder.rglob("metrics.jsonl")
    costs = [line["cost"] for log in logs for line in MetricsLog(log).read()]
    return sum(cost["train_seconds"] + cost["evaluate_seconds"] for cost in costs) / 3600


def published_hours(folder: Path) -> float:
    """Return the hours of a run or search that is published, without pauses."""
    return float((read_json(folder / "cost.json", "delete the folder") or {})["hours"])


class Row(NamedTuple):
    """A recipe, the report's number, and our runs.

    ``compared`` has our numbers, of the split that the report measured, and our differences from
    the baseline row ``base``; ``expected`` is the report's difference from it, in points, and
    ``difference`` says whether that is plausible. Without runs there is nothing but the report's.
    ``twins`` are the recipes that differ from it by their name alone, it among them.
    """

    recipe: str
    base: str
    reported: Reported | None
    runs: list[RunData]
    compared: ComparisonRow | None = None
    expected: float | None = None
    difference: Agreement = Agreement()
    twins: tuple[str, ...] = ()

    @property
    def is_comparable(self) -> bool:
        """Whether the report's number is on our data."""
        return self.compared is not None and self.compared.reported is not None


def read_rows() -> dict[str, Row]:
    """The rows by recipe; recipes that differ by their name alone share their runs."""
    by_recipe: dict[str, list[RunData]] = {}
    paths = published_runs()
    for run in read_runs(paths, predictions=False) if paths else []:
        by_recipe.setdefault(fingerprint_row(run.recipe), []).append(run)
    keys = {name: fingerprint_row(find(name)) for name in recipe_names()}
    runs = {name: by_recipe.get(key, []) for name, key in keys.items()}
    twins = {key: tuple(n for n in keys if keys[n] == key) for key in keys.values()}
    return {name: _read_row(name, runs)._replace(twins=twins[keys[name]]) for name in runs}


def _read_row(name: str, runs: dict[str, list[RunData]]) -> Row:
    base = next(base for pattern, base in BASELINES.items() if fnmatchcase(name, pattern))
    number, theirs = (shipped_recipes()[row].reported for row in (name, base))
    row = Row(name, base, number, runs[name])
    # a second reading of the baseline's number says nothing of a difference
    has_expected = number and theirs and number.accuracy != theirs.accuracy
    if has_expected and (number.data, number.split) == (theirs.data, theirs.split):
        row = row._replace(expected=number.accuracy - theirs.accuracy)
    if not row.runs:
        return row
    names = list(dict.fromkeys((base, name)))
    outcomes = [run_outcome(row, run, Accuracy()) for row in names for run in runs[row]]
    if number and number.split == "val":
        outcomes = [outcome._replace(test=None) for outcome in outcomes]
    # how many seeds each row gets was decided before they were trained
    plan = Plan.once(max(1, *(len(runs[row]) for row in names)))
    reported = {name: number} if number else {}
    compared = compare(name, names, base, outcomes, reported, plan=plan).rows[-1]
    row = row._replace(compared=compared)
    if row.expected is None:
        return row
    return row._replace(difference=judge_difference(number, theirs, compared.pairs))
