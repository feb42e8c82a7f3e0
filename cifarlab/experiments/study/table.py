"""A comparison as a table: for a terminal, as Markdown, as CSV, and whole as JSON."""

import csv
import io
from typing import Any

from pydantic import BaseModel

from cifarlab.experiments.study.comparison import Comparison, ComparisonRow
from cifarlab.experiments.study.definition import SPLIT_NAMES
from cifarlab.run_folder.schemas import restore
from cifarlab.stats.paired import MAX_SEEDS, Interval
from cifarlab.system.errors import RunFolderError

NOTHING = "-"
HEADERS = (
    "row",
    "n",
    "mean",
    "std",
    "95 % interval",
    "difference",
    "95 % interval of it",
    "d_z",
    "p (Holm)",
    "verdict",
    "seeds for 0.3 points",
    "reported",
    "agreement",
)
_BARE = ("reported", "agreement")  # left out where no report has a number


def heading(comparison: Comparison) -> list[str]:
    """What all numbers of the table share, a sentence per line."""
    return [
        f"{SPLIT_NAMES[comparison.split].capitalize()} accuracy in per cent on {comparison.data}.",
        *([] if comparison.scale == 1 else [scale_words(comparison.scale)]),
        f"Differences in points from {comparison.baseline}, paired by seed; intervals by Student's t; "
        "d_z is the mean difference over its standard deviation.",
    ]


def scale_words(scale: float) -> str:
    """What a scale did to the study, for every table and figure."""
    return f"At scale {scale:g}: {scale:g} of the training images and {scale:g} of the epochs."


def footing(comparison: Comparison) -> list[str]:
    """What must be read beside the table."""
    sentences = (
        []
        if comparison.rank_correlation is None
        else [f"{comparison.rank_correlation.n} rows with a reported number: Kendall's tau "]
    )
    tau = (
        comparison.rank_correlation
        and f"between our order and theirs {comparison.rank_correlation.tau:.2f} (p = {comparison.rank_correlation.p:.2g})."
    )
    judged = any(row.agreement.by for row in comparison.rows)
    how = (
        "Agreement: whether the reported number, a single run, lies where 95 % of our single runs "
        "would (prediction interval)"
        + (
            "; levels are not comparable here, so differences from the baseline are."
            if any(row.agreement.by == "difference" for row in comparison.rows)
            else "."
        )
    )
    return [
        *comparison.notes,
        *([how] if judged else []),
        *(f"{start}{tau}" for start in sentences),
    ]


def format_rows(comparison: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and cells as text, rounded to hundredths of a point."""
    bare = all(row.reported is None for row in comparison.rows)
    kept = [index for index, name in enumerate(HEADERS) if not (bare and name in _BARE)]
    cells = [_cells(row) for row in comparison.rows]
    return tuple(HEADERS[p] for p in kept), [tuple(row[p] for p in kept) for row in cells]


def _cells(row: ComparisonRow) -> tuple[str, ...]:
    accuracy, difference = row.accuracy, row.pairs and row.pairs.difference
    return (
        row.name,
        str(len(row.accuracies)),
        _number(accuracy and accuracy.mean),
        _number(accuracy and accuracy.std),
        _interval(accuracy and accuracy.interval),
        _number(difference and difference.mean, "+.2f"),
        _interval(difference and difference.interval, "+.2f"),
        NOTHING if not row.pairs or row.pairs.effect is None else f"{row.pairs.effect:.2f}",
        NOTHING if row.p is None else _p(row.p),
        row.verdict,
        _seeds(row),
        _reported(row),
        row.agreement.words or NOTHING,
    )


def _number(fraction: float | None, form: str = ".2f") -> str:
    return NOTHING if fraction is None else format(100 * fraction, form)


def _interval(interval: Interval | None, form: str = ".2f") -> str:
    if interval is None:
        return NOTHING
    return f"{_number(interval[0], form)} to {_number(interval[1], form)}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _seeds(row: ComparisonRow) -> str:
    if row.detectable is None:
        return NOTHING
    return f"> {MAX_SEEDS:,}" if row.seeds_needed is None else f"{row.seeds_needed:,}"


def _reported(row: ComparisonRow) -> str:
    if row.reported is None:
        return NOTHING
    expected = row.agreement.expected
    return f"{row.reported.accuracy:g}" + (
        "" if expected is None else f" ({_number(expected, '+.2f')})"
    )


def markdown(comparison: Comparison) -> str:
    """The whole table with its heading and notes."""
    headers, cells = format_rows(comparison)
    table = [headers, tuple("---" for _ in headers), *cells]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    notes = [f"- {note}" for note in footing(comparison)]
    parts = [
        f"# {comparison.title}",
        " ".join(heading(comparison)),
        "\n".join(lines),
        "\n".join(notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_text(comparison: Comparison) -> str:
    """One line per row, numbers unrounded (accuracies and differences as shares from 0 to 1)."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(_raw(comparison, comparison.rows[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_raw(comparison, row) for row in comparison.rows)
    return file.getvalue()


def _raw(comparison: Comparison, row: ComparisonRow) -> dict[str, Any]:
    accuracy, pairs = row.accuracy, row.pairs
    low, high = (accuracy and accuracy.interval) or (None, None)
    difference = pairs and pairs.difference
    least, most = (difference and difference.interval) or (None, None)
    return {
        "row": row.name,
        "data": comparison.data,
        "split": comparison.split,
        "scale": comparison.scale,
        "n": len(row.accuracies),
        "mean": accuracy and accuracy.mean,
        "std": accuracy and accuracy.std,
        "low": low,
        "high": high,
        "pairs": difference.n if difference else 0,
        "difference": difference and difference.mean,
        "difference_std": difference and difference.std,
        "difference_low": least,
        "difference_high": most,
        "d_z": pairs and pairs.effect,
        "p": pairs and pairs.p,
        "p_holm": row.p,
        "detectable": row.detectable,
        "seeds_for_0.3_points": row.seeds_needed,
        "verdict": row.verdict,
        "reported": row.reported and row.reported.accuracy / 100,
        "reported_data": row.reported and row.reported.data,
        "reported_split": row.reported and row.reported.split,
        "agrees": row.agreement.agrees,
        "agreement": row.agreement.words,
        "accuracies": " ".join(f"{seed}:{value:.6f}" for seed, value in row.accuracies.items()),
    }


def restore_comparison(tree: Any) -> Comparison:
    """The comparison that ``as_json`` made plain. Raises RunFolderError for anything else."""
    what = "the comparison is not one that this cifarlab writes"
    hint = "run the study again: finished runs are taken as they are"
    comparison: Comparison = restore(Comparison, tree, what, hint)
    if comparison.baseline not in [row.name for row in comparison.rows]:
        raise RunFolderError(f"{what}: its baseline is no row", hint)
    return comparison


def as_json(value: Any) -> Any:
    """Plain values of anything in a comparison, each number under its name."""
    if isinstance(value, Comparison):
        return {name: as_json(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: as_json(item) for name, item in value._asdict().items()}
    if isinstance(value, dict):
        return {str(name): as_json(item) for name, item in value.items()}
    return [as_json(item) for item in value] if isinstance(value, list | tuple) else value
