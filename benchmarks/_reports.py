"""What is published of the five reports' rows: docs/reports/, and the table docs/reports.md.

docs/reports/<recipe>/seed-<S>/   metrics.jsonl, result.json, recipe.yaml, provenance.json and
                                  test.safetensors (logits as float16; no weights) of one run
docs/reports/costs.json           hours of a whole run by hardware and recipe, from its first steps
"""

import json
import math
import re
import shutil
import statistics
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.experiments.study.comparison import ComparisonRow, compare
from cifarlab.experiments.study.definition import Reported
from cifarlab.experiments.study.outcomes import fingerprint_row, run_outcome
from cifarlab.experiments.writing import markdown_table
from cifarlab.metrics.kinds import Accuracy
from cifarlab.plots import spec
from cifarlab.plots.draw import draw_all
from cifarlab.plots.spec import Axis, Marks, Panel, Plot
from cifarlab.plots.style import save
from cifarlab.recipes.catalog import find, shipped_recipes
from cifarlab.run_folder.predictions import Predictions
from cifarlab.run_folder.run_data import RunData, read_runs
from cifarlab.stats.paired import Summary
from cifarlab.system.files import write_arrays, write_text

DOCS = Path(__file__).parents[1] / "docs"
PUBLISHED = DOCS / "reports"
SEARCHES = PUBLISHED / "searches"
FINDINGS = PUBLISHED / "findings.md"  # written by hand; {row} stands for our result of that row
COSTS = PUBLISHED / "costs.json"
REPORTS = ("kth2022", "kth2024", "asha2021", "nyu2024", "fudan")
# patterns of rows, and the row that their differences are from; the first that matches counts
BASELINES = {
    "kth2022/norm-*": "kth2022/norm-batch",
    "kth2022/combined-norm-*": "kth2022/combined-norm-batch",
    "kth2022/*cifar100": "kth2022/resnet-cifar100",
    "kth2022/resnet-*": "kth2022/resnet-constant",
    "kth2022/noisy-labels": "kth2022/resnet-deeper",
    "kth2022/test-views": "kth2022/resnet-deeper",
    "kth2022/*": "kth2022/baseline",
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
FILES = ("format.json", "metrics.jsonl", "result.json", "recipe.yaml", "provenance.json")
NOTHING = "–"


def publish(run: Path, recipe: str, seed: int) -> Path:
    """Copy what is published of a finished run, and return where."""
    return publish_files(run, PUBLISHED / recipe / f"seed-{seed}")


def publish_files(run: Path, folder: Path) -> Path:
    """Copy what is published of a finished run to a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(run / name, folder / name)
    predictions = Predictions.read(run / "predictions" / "test.safetensors")
    arrays = {"logits": predictions.logits.astype(np.float16)}
    write_arrays(folder / "test.safetensors", arrays, {"fingerprint": predictions.fingerprint})
    return folder


def publish_search(search: Path, name: str) -> Path:
    """Copy what is published of a search that ended, and return where."""
    folder = SEARCHES / name
    shutil.copytree(search / "figures", folder / "figures", dirs_exist_ok=True)
    for file in ("search.json", "page.md", "table.csv", "best.yaml"):
        shutil.copyfile(search / file, folder / file)
    publish_files(search / "best", folder / "best")
    return folder


class Row(NamedTuple):
    """A recipe with its published runs, and what our comparison says of them."""

    recipe: str
    reported: Reported | None
    runs: list[RunData]
    compared: ComparisonRow | None


def baseline(recipe: str) -> str:
    """Return the row that a row's difference is from."""
    return next(base for pattern, base in BASELINES.items() if fnmatchcase(recipe, pattern))


def read_rows() -> dict[str, list[Row]]:
    """The rows by baseline; recipes that differ by their name alone share their runs."""
    paths = sorted(path.parent for path in PUBLISHED.rglob("seed-*/result.json"))
    by_recipe: dict[str, list[RunData]] = {}
    for run in read_runs(paths, predictions=False) if paths else []:
        by_recipe.setdefault(fingerprint_row(run.recipe), []).append(run)
    names: dict[str, list[str]] = {}
    for name in recipe_names():
        names.setdefault(baseline(name), [baseline(name)]).append(name)
    return {
        base: _compare(base, list(dict.fromkeys(row_names)), by_recipe)
        for base, row_names in names.items()
    }


def recipe_names() -> list[str]:
    """Return the recipes of all reports, report by report."""
    return [n for report in REPORTS for n in shipped_recipes() if n.startswith(f"{report}/")]


def _compare(base: str, names: list[str], by_recipe: dict[str, list[RunData]]) -> list[Row]:
    numbers = {name: shipped_recipes()[name].reported for name in names}
    runs = {name: by_recipe.get(fingerprint_row(find(name)), []) for name in names}
    rows: dict[str, ComparisonRow] = {}
    if any(runs.values()):
        outcomes = [run_outcome(name, run, Accuracy()) for name in names for run in runs[name]]
        known = {name: number for name, number in numbers.items() if number}
        rows = {row.name: row for row in compare(base, names, base, outcomes, known).rows}
    return [Row(name, numbers[name], runs[name], rows.get(name)) for name in names]


def hours(run: RunData) -> float:
    """Hours of training and validation without pauses, in which the process stood still.

    An epoch that took more than one and a half times the median counts as the median.
    """
    costs = [line["cost"] for line in run.lines]
    seconds = [cost["train_seconds"] + cost["evaluate_seconds"] for cost in costs]
    usual = statistics.median(seconds)
    return sum(usual if s > 1.5 * usual else s for s in seconds) / 3600


def write_page() -> None:
    """Write docs/reports.md and its picture from what is published."""
    groups = read_rows()
    write_text(DOCS / "reports.md", page(groups))
    if any(row.runs for group in groups.values() for row in group):
        alt = "Test accuracy of every row that is trained, beside the report's number"
        save(draw_all({"reports": (picture, alt)}, groups)["reports"], DOCS)


def page(groups: dict[str, list[Row]]) -> str:
    """Return docs/reports.md."""
    costs = json.loads(COSTS.read_text(encoding="utf-8")) if COSTS.exists() else {}
    n_rows = len(recipe_names())
    done = {row.recipe: row for group in groups.values() for row in group if row.runs}
    spent = sum({run.path: hours(run) for row in done.values() for run in row.runs}.values())
    parts = [
        "# The five reports, row by row",
        "![Every report's number beside our runs](reports.svg)",
        f"Written by `benchmarks/reproduce.py`. {len(done)} of {n_rows} rows are trained at their "
        f"full length on the original images, {spent:.1f} hours of training and validation in all; "
        "metrics, result, recipe, provenance and test logits of each run are in "
        "[reports/](reports/).",
        "All accuracies are test accuracies in per cent. *Plausible* says whether the report's "
        "number, a single run, lies where 95 % of our single runs would (prediction interval, from "
        "two runs on). *Difference* is from the report's own baseline row, paired by seed, the "
        "report's beside ours. A row that is not trained yet has the hours of one run, from the "
        "speed of its first steps.",
        _findings(done),
    ]
    for base, rows in groups.items():
        parts += [f"## Beside {base}", _table(rows, costs)]
    return "\n\n".join([*parts, *_searches()]) + "\n"


def _findings(done: dict[str, Row]) -> str:
    """What was found, with our results in place of the rows' names in braces."""

    def result(name: re.Match[str]) -> str:
        row = done.get(name[1])
        if row is None or row.compared is None or row.compared.summary is None:
            return "(not trained yet)"
        summary = row.compared.summary
        return f"{_mean(summary)} (n = {summary.n})"

    return re.sub(r"{([^{}]+)}", result, FINDINGS.read_text(encoding="utf-8").strip())


def _searches() -> list[str]:
    """The searches that are published, their best trial trained again and tested."""
    cells = []
    for file in sorted(SEARCHES.rglob("search.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        name, table = content["search"]["name"], content["results"]["table"]
        best = read_runs([file.parent / "best"], predictions=False)[0]
        assert best.result is not None
        reported = shipped_recipes()[content["search"]["recipe"]].reported
        cells.append(
            (
                f"[{name}](reports/searches/{name}/page.md)",
                f"{len(table)} of up to {content['search']['max_epochs']}",
                f"{100 * table[0]['score']:.2f}",
                f"{100 * best.result['test']['accuracy']:.2f}",
                f"{reported.accuracy:g}: {reported.note}" if reported else NOTHING,
            )
        )
    headers = ("search", "trials", "best validation accuracy", "its test accuracy", "reported")
    return ["## Searches", markdown_table(headers, cells)] if cells else []


def _table(rows: list[Row], costs: dict[str, dict[str, float]]) -> str:
    headers = ("row", "reported", "ours", "n", "95 % interval", "plausible", "difference: reported")
    headers += ("ours", "precision", "hours of a run", "contradiction")
    return markdown_table(headers, [_cells(row, rows[0], costs) for row in rows])


def _cells(row: Row, base: Row, costs: dict[str, dict[str, float]]) -> list[str]:
    number, line = row.reported, row.compared
    summary = line.summary if line else None
    interval = summary.interval if summary else None
    difference = line.pairs.difference if line and line.pairs else None
    theirs = base.reported if row is not base else None
    expected = number.accuracy - theirs.accuracy if number and theirs else None
    return [
        f"`{row.recipe.partition('/')[2]}`",
        f"{number.accuracy:g}{' (val)' * (number.split == 'val')}" if number else NOTHING,
        _mean(summary) if summary else NOTHING,
        f"{summary.n}" if summary else NOTHING,
        f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else NOTHING,
        (line.agreement.words if line and number else "") or NOTHING,
        NOTHING if expected is None else f"{expected:+.2f}",
        f"{100 * difference.mean:+.2f}" if difference else NOTHING,
        ", ".join(dict.fromkeys(_precision(run) for run in row.runs)) or NOTHING,
        _hours(row, costs),
        (number.contradiction if number else "") or NOTHING,
    ]


def _mean(summary: Summary) -> str:
    spread = "" if summary.std is None else f" ± {100 * summary.std:.2f}"
    return f"{100 * summary.mean:.2f}{spread}"


def _precision(run: RunData) -> str:
    return str(run.provenance.get("precision", NOTHING))


def _hours(row: Row, costs: dict[str, dict[str, float]]) -> str:
    if row.runs:
        return f"{statistics.fmean(map(hours, row.runs)):.2f}"
    known = {name: cost[row.recipe] for name, cost in costs.items() if row.recipe in cost}
    return ", ".join(f"({value:.1f} on {name})" for name, value in known.items()) or NOTHING


def picture(groups: dict[str, list[Row]]) -> Plot:
    """Every row that has a run: each run a point, and the report's number."""
    panels = []
    for base, rows in groups.items():
        trained = [row for row in rows if row.runs]
        if not trained:
            continue
        runs = [(100 * v, y) for y, row in enumerate(trained) for v in _values(row)]
        theirs = [row.reported.accuracy if row.reported else math.nan for row in trained]
        marks: list[spec.Mark] = [
            Marks(theirs, range(len(trained)), "reported", spec.VERMILION, marker="D", size=4.5),
            Marks(*zip(*runs, strict=True), "a run of ours", spec.BLUE, marker="o", size=3.5),
        ]
        names = [row.recipe.partition("/")[2] for row in trained]
        y = Axis(limits=(len(trained) - 0.4, -0.6), names=names)
        panels.append(Panel(marks, Axis(f"beside {base}: test accuracy (%)"), y, grid="x"))
    sizes = [0.6 + 0.2 * len(panel.y.names) for panel in panels]
    layout = {"width": spec.WIDE, "height": 0.5 + sum(sizes), "heights": sizes}
    return Plot(panels, **layout, legend="below", legend_columns=2)


def _values(row: Row) -> list[float]:
    return list(row.compared.values.values()) if row.compared else []
