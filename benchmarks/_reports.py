"""docs/reports.md and its picture, written from what is published of the five reports' rows."""

import math
import re
import statistics
from collections.abc import Mapping

from _published import (
    DOCS,
    REPORTS,
    Row,
    published_hours,
    read_costs,
    read_rows,
    search_target,
)

from cifarlab.experiments.search.definition import shipped_searches
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.plots import spec
from cifarlab.plots.draw import draw_all
from cifarlab.plots.spec import Axis, Marks, Panel, Plot
from cifarlab.plots.style import save
from cifarlab.recipes.catalog import Reported, shipped_recipes
from cifarlab.run_folder.folder import RunFolder
from cifarlab.stats.paired import ALPHA, Summary, compare_pairs
from cifarlab.system.files import read_text, write_text
from cifarlab.system.formatting import markdown_table

SEARCH = "search "  # begins a search's name among the costs
NOTHING = "–"
_HEADERS = (
    *("row", "reported", "ours", "n", "95 % interval", "plausible", "baseline"),
    *("difference: reported", "ours", "plausible", "precision", "hours of a run", "contradiction"),
)
Costs = Mapping[str, Mapping[str, float]]


def search_names() -> list[str]:
    """Return the searches of all reports, report by report."""
    return [n for report in REPORTS for n in shipped_searches() if n.startswith(f"{report}/")]


def write_page() -> None:
    """Write docs/reports.md and its picture from what is published."""
    rows = read_rows()
    write_text(DOCS / "reports.md", page(rows))
    if any(row.runs for row in rows.values()):
        alt = "Accuracy of every row that is trained, beside the report's number"
        save(draw_all({"reports": (picture, alt)}, rows)["reports"], DOCS)


def page(rows: dict[str, Row]) -> str:
    """Return docs/reports.md."""
    costs = read_costs()
    n_done = sum(bool(row.runs) for row in rows.values())
    folders = {run.path for row in rows.values() for run in row.runs}
    folders |= {f for f in map(search_target, search_names()) if f.exists()}
    spent = sum(map(published_hours, folders))
    findings = read_text(DOCS / "reports" / "findings.md").strip()
    parts = [
        "# The five reports, row by row",
        "![Every report's number beside our runs](reports.svg)",
        "Every experiment of five student reports is a recipe. This page compares each report's "
        "number with our runs of its recipe.",
        f"Written by `benchmarks/reproduce.py`. {n_done} of {len(rows)} rows are trained at their "
        f"full length on the original images, in {spent:.1f} hours of training and validation, "
        "searches included. [reports/](reports/) has each run's metrics, result, recipe, "
        "provenance and test logits.",
        fill(findings, rows),
        "## Every row",
        "Accuracies are in per cent, on test images; where the report's number is on validation "
        "images, so is ours.",
        "- *Ours* and *difference* have the mean before the standard deviation; a difference is "
        "from the baseline row, paired by seed.\n"
        "- *Plausible*: whether the report's number, a single run, lies in the interval where 95 % "
        "of our single runs would (a prediction interval, from two runs on); behind *difference*, "
        "the same of its difference and of our pairs.\n"
        "- *Hours* in brackets: an estimate from the speed of the first steps, where a row is not "
        "trained yet.",
        markdown_table(_HEADERS, [cells(row, costs) for row in rows.values()]),
        "## Searches",
        "The best trial's recipe is trained once more and tested. Hours in brackets are an "
        "estimate: they assume that each rung stops just the fraction of trials that its rule "
        "aims at.",
        _searches(costs),
    ]
    return "\n\n".join(parts) + "\n"


def fill(text: str, rows: dict[str, Row]) -> str:
    """Return a text with our results in place of what stands in braces.

    ``{ROW}`` is the mean of a row; ``{ROW plausible}`` whether the report's number is a plausible
    single run; ``{ROW > ROW}`` whether the first is better, by our runs that share a seed.
    """

    def result(words: re.Match[str]) -> str:
        match words[1].split():
            case [row]:
                return _result(rows[row])
            case [row, "plausible"]:
                return _plausible(rows[row])
            case [row, ">", other]:
                return _order(rows[row], rows[other])
        raise ValueError(f"{words[0]}: write {{ROW}}, {{ROW plausible}} or {{ROW > ROW}}")

    text = text.replace("](../../", "](../")  # its links are from docs/reports/
    return re.sub(r"{([^{}]+)}", result, text)


def _result(row: Row) -> str:
    summary = row.compared.summary if row.compared else None
    return f"{_mean(summary)} (n = {summary.n})" if summary else "(not trained yet)"


def _plausible(row: Row) -> str:
    agrees = row.compared.agreement.agrees if row.compared else None
    if agrees is None:
        return "not to be judged yet"
    return f"{'a' if agrees else 'no'} plausible single run of ours"


def _order(row: Row, other: Row) -> str:
    ours, theirs = _values(row), _values(other)
    seeds = [seed for seed in ours if seed in theirs]
    if len(seeds) < 2:
        return f"can't be said yet (n = {len(seeds)})"
    pairs = compare_pairs([ours[seed] for seed in seeds], [theirs[seed] for seed in seeds])
    is_clear = pairs.p is not None and pairs.p < ALPHA
    sign = pairs.difference.mean > 0
    words = ("holds" if sign else "does not hold") if is_clear else "may be chance"
    return f"{words} ({100 * pairs.difference.mean:+.2f}, n = {len(seeds)})"


def cells(row: Row, costs: Costs) -> list[str]:
    """Return a row's cells of the table."""
    line = row.compared
    summary = line.summary if line else None
    interval = summary.interval if summary else None
    difference = line.pairs.difference if line and line.pairs else None
    return [
        f"`{row.recipe}`",
        _reported(row.reported) if row.reported else NOTHING,
        _mean(summary) if summary else NOTHING,
        f"{summary.n}" if summary else NOTHING,
        f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else NOTHING,
        (line.agreement.words if line else "") or NOTHING,
        NOTHING if row.base == row.recipe else f"`{row.base.partition('/')[2]}`",
        NOTHING if row.expected is None else f"{row.expected:+.2f}",
        _mean(difference, "+") if difference else NOTHING,
        row.difference.words or NOTHING,
        ", ".join(dict.fromkeys(str(run.provenance.get("precision")) for run in row.runs))
        or NOTHING,
        _hours(row, costs),
        (row.reported.contradiction if row.reported else "") or NOTHING,
    ]


def _reported(number: Reported) -> str:
    """Return a report's number, and what it is where that is more than one run on our data."""
    notes = [
        f"on {number.data}" * (number.data != "CIFAR-10"),
        "validation" * (number.split == "val"),
        number.note * (number.note != "one run"),
    ]
    words = ", ".join(filter(None, notes))
    return f"{number.accuracy:g} ({words})" if words else f"{number.accuracy:g}"


def _mean(summary: Summary, sign: str = "") -> str:
    spread = "" if summary.std is None else f" ± {100 * summary.std:.2f}"
    return f"{100 * summary.mean:{sign}.2f}{spread}"


def _hours(row: Row, costs: Costs) -> str:
    if row.runs:
        return f"{statistics.fmean(published_hours(run.path) for run in row.runs):.2f}"
    return _expected_hours(row.recipe, costs)


def _expected_hours(name: str, costs: Costs) -> str:
    known = {machine: hours[name] for machine, hours in costs.items() if name in hours}
    return ", ".join(f"({value:.1f} on {name})" for name, value in known.items()) or NOTHING


def _searches(costs: Costs) -> str:
    """Return the table of the searches: those that ended, and what the others would cost."""
    table = []
    for name in search_names():
        folder = search_target(name)
        content = SearchFolder(folder).content()
        if not content:
            table.append([f"`{name}`", *[NOTHING] * 4, _expected_hours(SEARCH + name, costs)])
            continue
        trials, best = content["results"]["table"], RunFolder(folder / "best").result() or {}
        reported = shipped_recipes()[content["search"]["recipe"]].reported
        table.append(
            [
                f"[{name}](reports/searches/{name}/page.md)",
                f"{len(trials)} of up to {content['search']['max_epochs']}",
                f"{100 * trials[0]['score']:.2f}",
                f"{100 * best['test']['accuracy']:.2f}",
                _reported(reported) if reported else NOTHING,
                f"{published_hours(folder):.2f}",
            ]
        )
    headers = ("search", "trials", "best validation accuracy", "its test accuracy", "reported")
    return markdown_table((*headers, "hours"), table)


def picture(rows: dict[str, Row]) -> Plot:
    """Every row that has a run: each run a point, and the report's number where it is on our data.

    A panel for each report.
    """
    panels = []
    for report in REPORTS:
        trained = [r for name, r in rows.items() if r.runs and name.startswith(f"{report}/")]
        if not trained:
            continue
        runs = [(100 * v, y) for y, row in enumerate(trained) for v in _values(row).values()]
        theirs = [r.reported.accuracy if r.is_comparable else math.nan for r in trained]
        marks: list[spec.Mark] = [
            Marks(theirs, range(len(trained)), "reported", spec.VERMILION, marker="D", size=4.5),
            Marks(*zip(*runs, strict=True), "a run of ours", spec.BLUE, marker="o", size=3.5),
        ]
        y = Axis(limits=(len(trained) - 0.4, -0.6), names=[_label(row) for row in trained])
        panels.append(Panel(marks, Axis(f"{report}: accuracy (%)"), y, grid="x"))
    sizes = [0.6 + 0.2 * len(panel.y.names) for panel in panels]
    layout = {"width": spec.WIDE, "height": 0.5 + sum(sizes), "heights": sizes}
    return Plot(panels, **layout, legend="below", legend_columns=2)


def _label(row: Row) -> str:
    is_val = row.reported and row.reported.split == "val"
    return row.recipe.partition("/")[2] + " (validation)" * bool(is_val)


def _values(row: Row) -> dict[int, float]:
    return row.compared.values if row.compared else {}
