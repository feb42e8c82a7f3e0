"""A comparison as a table: for a terminal, as Markdown, as CSV, and read back from JSON."""

from typing import Any

from cifarlab.experiments.study.columns import format_value
from cifarlab.experiments.study.comparison import Comparison, ComparisonRow
from cifarlab.experiments.study.definition import MAX_SEEDS
from cifarlab.experiments.study.margin import margin_table
from cifarlab.experiments.study.price import REFERENCE_GAP, find_chance
from cifarlab.experiments.study.verdicts import describe_margin, describe_plan
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.scale import describe_scale
from cifarlab.report import by_image
from cifarlab.run_folder.run_data import SPLIT_NAMES
from cifarlab.run_folder.schemas import restore
from cifarlab.stats.paired import Summary
from cifarlab.system.errors import RunFolderError
from cifarlab.system.formatting import NOTHING, TextTable, dicts_to_csv, markdown_page, p_value

COLUMNS_NOTE = (
    "Means over the seeds. In brackets the report's, or of how many seeds it is the mean: those "
    "that reach the level."
)
_RUN_AGAIN = "run the study again: finished runs are taken as they are"


def heading(comparison: Comparison) -> list[str]:
    """Return the sentences above the table, which hold for all of its numbers."""
    metric = comparison.metric
    unit, points = (" in per cent", " in points") if metric.percent else ("", "")
    direction = "" if metric.higher_is_better else "; less is better"
    title = metric.title_on(SPLIT_NAMES[comparison.split])
    margin = comparison.margin
    margin_note = "" if margin is None else f" The same: within {describe_margin(margin, metric)}."
    return [
        f"{title[0].upper()}{title[1:]}{unit} on {comparison.data}{direction}.",
        *([] if comparison.scale == 1 else [describe_scale(comparison.scale)]),
        f"Differences{points} from {comparison.baseline}, paired by seed; d_z is the mean "
        "difference over its standard deviation.",
        describe_plan(comparison.plan) + margin_note,
    ]


def footing(comparison: Comparison) -> list[str]:
    """Return the notes below the table."""
    ranks = comparison.rank_correlation
    order = ranks and (
        f"{ranks.n} rows with a reported number: Kendall's tau between our order and theirs "
        f"{ranks.tau:.2f} (p = {ranks.p:.2g})."
    )
    bases = {row.agreement.basis for row in comparison.rows}
    how = (
        "Agreement: whether the reported number, a single run, lies where 95 % of our single runs "
        "would (prediction interval)"
    )
    if "difference" in bases:
        how += "; levels are not comparable here, so differences from the baseline are"
    return [*comparison.notes, *([f"{how}."] if any(bases) else []), *([order] if order else [])]


def format_rows(comparison: Comparison) -> TextTable:
    """Return headers and cells as text, accuracies rounded to hundredths of a point."""
    optional = describe_chance(comparison), "reported", "agreement"
    rows = [_cells(row, comparison) for row in comparison.rows]
    names = [n for n in rows[0] if n not in optional or any(cells[n] != NOTHING for cells in rows)]
    return tuple(names), [tuple(cells[name] for name in names) for cells in rows]


def describe_chance(comparison: Comparison) -> str:
    """Return the header of the chance that the plan finds a difference as large as the margin."""
    gap = REFERENCE_GAP if comparison.margin is None else comparison.margin
    return f"chance to find {describe_margin(gap, comparison.metric)}"


def _cells(row: ComparisonRow, comparison: Comparison) -> dict[str, str]:
    metric, chance = comparison.metric, find_chance(row, comparison)
    mean, difference = row.summary, row.pairs and row.pairs.difference
    return {
        "row": row.name,
        "n": str(len(row.values)),
        "mean": metric.number(mean and mean.mean),
        "std": metric.number(mean and mean.std),
        "95 % interval": metric.interval(mean and mean.interval),
        "difference": metric.number(difference and difference.mean, "+"),
        "95 % interval of it": metric.interval(difference and difference.interval, "+"),
        "d_z": NOTHING if not row.pairs or row.pairs.effect is None else f"{row.pairs.effect:.2f}",
        "p (Holm)": p_value(row.p),
        **({} if comparison.margin is None else {"p same": p_value(row.same_p)}),
        "verdict": row.verdict,
        describe_chance(comparison): NOTHING if chance is None else f"{100 * chance:.0f} %",
        "reported": _reported(row, metric),
        "agreement": row.agreement.words or NOTHING,
    }


def _reported(row: ComparisonRow, metric: MetricFacts) -> str:
    if row.reported is None:
        return NOTHING
    expected = row.agreement.expected
    difference = "" if expected is None else f" ({metric.number(expected, '+')})"
    return f"{row.reported.accuracy:g}{difference}"


def column_table(comparison: Comparison) -> TextTable:
    """Return headers and cells of the study's columns; empty where it has none."""
    headings = _headings(comparison)
    values = [{value.heading: value for value in row.columns} for row in comparison.rows]
    cells = [
        (row.name, *(format_value(of_row.get(heading)) for heading in headings))
        for row, of_row in zip(comparison.rows, values, strict=True)
    ]
    return (("row", *headings), cells) if headings else ((), [])


def _headings(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(v.heading for row in comparison.rows for v in row.columns))


def markdown(comparison: Comparison) -> str:
    """Return the table with its heading and notes as Markdown."""
    columns = column_table(comparison)
    return markdown_page(
        [
            f"# {comparison.title}",
            " ".join(heading(comparison)),
            format_rows(comparison),
            footing(comparison),
            margin_table(comparison.margin_rows),
            *by_image.page_parts(comparison.by_image),
            columns,
            COLUMNS_NOTE if columns[0] else "",
        ]
    )


def csv_text(comparison: Comparison) -> str:
    """Return a CSV line per row, numbers unrounded, accuracies and differences from 0 to 1."""
    return dicts_to_csv([_raw_values(comparison, row) for row in comparison.rows])


def _raw_values(comparison: Comparison, row: ComparisonRow) -> dict[str, Any]:
    pairs = row.pairs
    difference_names = "difference", "difference_std", "difference_low", "difference_high"
    return {
        "row": row.name,
        "data": comparison.data,
        "split": comparison.split,
        "metric": comparison.metric.name,
        "scale": comparison.scale,
        "n": len(row.values),
        **_raw_summary(row.summary, "mean", "std", "low", "high"),
        "pairs": pairs.difference.n if pairs else 0,
        **_raw_summary(pairs and pairs.difference, *difference_names),
        "d_z": pairs and pairs.effect,
        "p": pairs and pairs.p,
        "p_holm": row.p,
        "p_same": row.same_p,
        "margin": comparison.margin,
        "plan": describe_plan(comparison.plan),
        "chance": find_chance(row, comparison),
        "verdict": row.verdict,
        "reported": row.reported and row.reported.accuracy / 100,
        "reported_data": row.reported and row.reported.data,
        "reported_split": row.reported and row.reported.split,
        "agrees": row.agreement.agrees,
        "agreement": row.agreement.words,
        **dict.fromkeys(_headings(comparison)),
        **{value.heading: value.mean for value in row.columns},
        "values": " ".join(f"{seed}:{value:.6f}" for seed, value in row.values.items()),
    }


def _raw_summary(summary: Summary | None, *names: str) -> dict[str, float | None]:
    """Return mean, standard deviation and the interval's ends under these names."""
    ends = (summary and summary.interval) or (None, None)
    return dict(zip(names, (summary and summary.mean, summary and summary.std, *ends), strict=True))


def restore_comparison(tree: Any) -> Comparison:
    """Return the comparison from what ``as_json`` made of it.

    Raises:
        RunFolderError: the values are no comparison
    """
    what = "the comparison is not one that this cifarlab writes"
    return require_baseline(restore(Comparison, tree, what, _RUN_AGAIN))


def require_baseline(comparison: Comparison) -> Comparison:
    """Return a comparison from a file.

    Raises:
        RunFolderError: its baseline is not one of its rows, or its plan is none
    """
    if comparison.baseline not in [row.name for row in comparison.rows]:
        raise RunFolderError("the comparison's baseline is no row of it", _RUN_AGAIN)
    looks = [n for stage in comparison.plan.stages for n in (stage.first, stage.last)]
    if not looks or looks != sorted(looks) or not 1 <= looks[0] <= looks[-1] <= MAX_SEEDS:
        raise RunFolderError("the comparison's plan is none", _RUN_AGAIN)
    return comparison
