"""docs/reports.md and its picture, written from what is published of the five reports' rows."""

import math
import re
import string
from collections.abc import Iterable, Mapping

from _published import (
    DOCS,
    REPORTS,
    Row,
    published_hours,
    read_costs,
    read_rows,
    search_target,
)

from cifarlab.experiments.search.definition import find_search, shipped_searches
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.study.verdicts import correct
from cifarlab.plots import spec
from cifarlab.plots.draw import draw_all
from cifarlab.plots.spec import Axis, Marks, Panel, Plot
from cifarlab.plots.style import save
from cifarlab.recipes.catalog import Reported, shipped_recipes
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import as_rows, dig
from cifarlab.stats.paired import ALPHA, Summary, compare_pairs
from cifarlab.system.files import read_text, write_text
from cifarlab.system.formatting import markdown_table

SEARCH = "search "  # begins a search's name among the costs
NOTHING = "–"
_TRAINED = (
    *("row", "reported", "ours", "n", "95 % interval", "plausible", "baseline"),
    *("difference: reported", "difference: ours", "difference: plausible"),
    *("precision", "hours of a run"),
    "the report also says",
)
_UNTRAINED = ("row", "reported", "baseline", "difference: reported")


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
    costs = _useful_costs(rows)
    machines = dict(zip(string.ascii_uppercase, costs.values(), strict=False))
    done = [row for row in rows.values() if row.runs]
    folders = {run.path for row in rows.values() for run in row.runs}
    folders |= {f for f in map(search_target, search_names()) if f.exists()}
    spent = sum(map(published_hours, folders))
    findings = read_text(DOCS / "reports" / "findings.md").strip()
    parts = [
        "# The five reports, row by row",
        "![Accuracy of the rows that are trained, beside the reports' numbers](reports.svg)",
        "The experiments of five student reports on CIFAR-10 are recipes, each named after "
        "its report: `kth2022/all` is that of kth2022 with all techniques. This page compares the "
        "reports' numbers with our runs.",
        f"Written by `benchmarks/reproduce.py`. {len(done)} of {len(rows)} rows are trained at "
        f"their full length ({len({row.twins for row in done})} recipes: some rows share one) on "
        f"the original images, in {spent:.1f} hours of training and validation, searches included. "
        "[reports/](reports/) has each run's metrics, result, recipe, provenance and test logits.",
        fill(findings, rows),
        "## Rows that are trained",
        "Accuracies are in per cent, on test images; where the report's number is on validation "
        "images, so is ours. Differences are in points.",
        "- *Ours*: the mean over n runs of different seeds ± their standard deviation. The *95 % "
        "interval* is the mean's, by a t distribution. Where it leaves 0 to 100 it is not shown: "
        "some runs train there, and others do not.\n"
        "- *Plausible*: whether the report's number, a single run, lies in the interval where 95 % "
        "of our single runs would (a prediction interval, from two runs on). Behind *difference*, "
        "the same of the report's difference from its *baseline* row and of ours, which are paired "
        "by seed.\n"
        "- *Hours of a run*: measured, whatever else the machine did: AMD EPYC with one or two "
        "threads, GPUs with one to eleven runs at a time.\n"
        f"- {NOTHING}: the report gives no number, or nothing can be compared. Of kth2022's "
        "augmentation and dropout it says 'over 80 %', and of its normalisations 'in average', "
        "without the number of runs: they are judged as single runs.",
        markdown_table(_TRAINED, [trained_cells(row) for row in done]),
        "## Rows that are not trained yet",
        "Hours are what one run is expected to take, from the speed of its first steps, with as "
        "many runs side by side as its machine's entry says. "
        + "; ".join(f"{letter}: {name}" for letter, name in zip(machines, costs, strict=True))
        + ".",
        _untrained([row for row in rows.values() if not row.runs], machines),
        "## Searches",
        "The best trial's recipe is trained once more and tested. Hours in brackets are expected, "
        "on the machines above, if each rung stops just the fraction of trials that its rule aims "
        "at.",
        _searches(machines),
    ]
    return "\n\n".join(parts) + "\n"


def _useful_costs(rows: dict[str, Row]) -> dict[str, dict[str, float]]:
    """Return by machine what is known of the rows and searches that are not trained."""
    names = {name for row in rows.values() if not row.runs for name in row.twins}
    names |= {SEARCH + name for name in search_names() if not search_target(name).exists()}
    return {machine: hours for machine, hours in read_costs().items() if names & hours.keys()}


def fill(text: str, rows: dict[str, Row]) -> str:
    """Return a text with our results in place of what stands in braces.

    ``{ROW}`` is the mean of a row; ``{ROW plausible}`` whether the report's number is a plausible
    single run; ``{ROW > ROW}`` whether the first is better, by our runs that share a seed, its p
    value corrected for all comparisons of the same list or paragraph (Holm).
    """
    # its links are from docs/reports/
    text = text.replace("](searches/", "](reports/searches/").replace("](../../", "](../")
    return "\n\n".join(_fill_block(block, rows) for block in text.split("\n\n"))


def _fill_block(text: str, rows: dict[str, Row]) -> str:
    orders = _orders(rows, [(a, b) for a, b in re.findall(r"{(\S+) > (\S+)}", text)])

    def result(words: re.Match[str]) -> str:
        match words[1].split():
            case [row]:
                return _result(rows[row])
            case [row, "plausible"]:
                return _plausible(rows[row])
            case [row, ">", other]:
                return orders[row, other]
        raise ValueError(f"{words[0]}: write {{ROW}}, {{ROW plausible}} or {{ROW > ROW}}")

    return re.sub(r"{([^{}]+)}", result, text)


def _result(row: Row) -> str:
    summary = row.compared.summary if row.compared else None
    return f"{_mean(summary)} (n = {summary.n})" if summary else "(not trained yet)"


def _plausible(row: Row) -> str:
    agrees = row.compared.agreement.agrees if row.compared else None
    if agrees is None:
        return "not to be judged yet"
    return f"{'a' if agrees else 'no'} plausible single run of ours"


def _orders(rows: dict[str, Row], comparisons: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return by pair of rows whether the first is better, in words."""
    pairs = {}
    for names in comparisons:
        ours, theirs = (_values(rows[name]) for name in names)
        seeds = [seed for seed in ours if seed in theirs]
        if len(seeds) > 1:
            values = ([of_row[seed] for seed in seeds] for of_row in (ours, theirs))
            pairs[names] = compare_pairs(*values)
    ps = correct({names: of_pair.p for names, of_pair in pairs.items()}, len(comparisons))
    words = dict.fromkeys(comparisons, "can't be said yet")
    for names, (difference, *_) in pairs.items():
        is_clear = ps.get(names, 1.0) <= ALPHA
        clear, unclear = (
            ("holds", "may be chance") if difference.mean > 0 else ("does not hold", "not seen")
        )
        sign = f"{100 * difference.mean:+.2f}, n = {difference.n}"
        words[names] = f"{clear if is_clear else unclear} ({sign})"
    return words


def trained_cells(row: Row) -> list[str]:
    """Return the cells of a row that has runs."""
    line = row.compared
    summary = line.summary if line else None
    interval = summary.interval if summary else None
    is_possible = interval and 0 <= interval[0] <= interval[1] <= 1
    difference = line.pairs.difference if line and line.pairs else None
    precisions = dict.fromkeys(str(run.provenance.get("precision")) for run in row.runs)
    return [
        f"`{row.recipe}`",
        _reported(row.reported),
        _mean(summary) if summary else NOTHING,
        f"{summary.n}" if summary else NOTHING,
        f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if is_possible else NOTHING,
        (line.agreement.words if line else "") or NOTHING,
        *_baseline(row),
        _mean(difference, "+") if difference else NOTHING,
        row.difference.words or NOTHING,
        ", ".join(precisions),
        _hours(row),
        (row.reported.contradiction if row.reported else "") or NOTHING,
    ]


def _baseline(row: Row) -> list[str]:
    """Return the baseline's cell, and that of the report's difference from it."""
    base = NOTHING if row.base == row.recipe else f"`{row.base.partition('/')[2]}`"
    return [base, NOTHING if row.expected is None else f"{row.expected:+.2f}"]


def _untrained(rows: list[Row], machines: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of the rows that are not trained."""
    table = []
    for row in rows:
        hours = [_expected_hours(row.twins, known) for known in machines.values()]
        says = (row.reported.contradiction if row.reported else "") or NOTHING
        table.append([f"`{row.recipe}`", _reported(row.reported), *_baseline(row), *hours, says])
    of_machines = [f"hours on {letter}" for letter in machines]
    return markdown_table((*_UNTRAINED, *of_machines, "the report also says"), table)


def _reported(number: Reported | None) -> str:
    """Return a report's number, and what it is where that is more than one run on our data."""
    if not number:
        return NOTHING
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


def _hours(row: Row) -> str:
    """Return the hours of a row's runs by what they were trained on."""
    by_device: dict[str, list[float]] = {}
    for run in row.runs:
        starts = as_rows(run.provenance.get("starts"))
        devices = dict.fromkeys(str(dig(start, "device", "name")) for start in starts)
        by_device.setdefault(", then ".join(devices), []).append(published_hours(run.path))
    texts = []
    for device, hours in by_device.items():
        low, high = f"{min(hours):.2f}", f"{max(hours):.2f}"
        texts.append(f"{low if low == high else f'{low} to {high}'} on {device}")
    return ", ".join(texts)


def _expected_hours(names: Iterable[str], hours: Mapping[str, float]) -> str:
    return next((f"{hours[name]:.1f}" for name in names if name in hours), NOTHING)


def _searches(machines: Mapping[str, Mapping[str, float]]) -> str:
    """Return the table of the searches: those that ended, and what the others would cost."""
    table = []
    for name in search_names():
        folder, search = search_target(name), find_search(name)
        number = shipped_recipes()[search.recipe].reported
        is_theirs = number and number.note.startswith(f"best of {search.trials} trials")
        reported = _reported(number if is_theirs else None)
        if not folder.exists():
            hours = [
                f"({known[SEARCH + name]:.1f} on {letter})"
                for letter, known in machines.items()
                if SEARCH + name in known
            ]
            table.append([f"`{name}`", *[NOTHING] * 3, reported, ", ".join(hours) or NOTHING])
            continue
        content, best = SearchFolder(folder).content(), RunFolder(folder / "best").result() or {}
        trials = content["results"]["table"]
        table.append(
            [
                f"[{name}](reports/searches/{name}/page.md)",
                f"{len(trials)} of up to {content['search']['max_epochs']}",
                f"{100 * trials[0]['score']:.2f}",
                f"{100 * best['test']['accuracy']:.2f}",
                reported,
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
