"""A comparison as a table: for a terminal, as Markdown, as CSV, and whole as JSON."""

import csv
import io
from typing import Any

from pydantic import BaseModel

from cifarlab.experiments.study.comparison import Comparison, Line
from cifarlab.runs.schemas import restore
from cifarlab.stats.paired import MOST_SEEDS, Interval
from cifarlab.system.errors import RunFolderError

NOTHING = "-"
HEADERS = (
    "row",
    "n",
    "mean",
    "deviation",
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


def heading(of: Comparison) -> list[str]:
    """What all numbers of the table share, a sentence per line."""
    return [
        f"{of.split.capitalize()} accuracy in per cent on {of.data}.",
        *([] if of.scale == 1 else [scale_words(of.scale)]),
        f"Differences in points from {of.baseline}, paired by seed; intervals by Student's t; "
        "d_z is the mean difference over its deviation.",
    ]


def scale_words(scale: float) -> str:
    """What a scale did to the study, for every table and figure."""
    return f"At scale {scale:g}: {scale:g} of the training images and {scale:g} of the epochs."


def footing(of: Comparison) -> list[str]:
    """What must be read beside the table."""
    rows = [] if of.order is None else [f"{of.order.n} rows with a reported number: Kendall's tau "]
    tau = of.order and f"between our order and theirs {of.order.tau:.2f} (p = {of.order.p:.2g})."
    judged = any(line.agreement.by for line in of.lines)
    how = (
        "Agreement: whether the reported number, a single run, lies where 95 % of our single runs "
        "would (prediction interval)"
        + (
            "; levels are not comparable here, so differences from the baseline are."
            if any(line.agreement.by == "difference" for line in of.lines)
            else "."
        )
    )
    return [*of.notes, *([how] if judged else []), *(f"{start}{tau}" for start in rows)]


def rows(of: Comparison) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and cells as text, rounded to hundredths of a point."""
    bare = all(line.reported is None for line in of.lines)
    kept = [place for place, name in enumerate(HEADERS) if not (bare and name in _BARE)]
    cells = [_cells(line) for line in of.lines]
    return tuple(HEADERS[p] for p in kept), [tuple(row[p] for p in kept) for row in cells]


def _cells(line: Line) -> tuple[str, ...]:
    accuracy, difference = line.accuracy, line.pairs and line.pairs.difference
    return (
        line.row,
        str(len(line.accuracies)),
        _number(accuracy and accuracy.mean),
        _number(accuracy and accuracy.deviation),
        _interval(accuracy and accuracy.interval),
        _number(difference and difference.mean, "+.2f"),
        _interval(difference and difference.interval, "+.2f"),
        NOTHING if not line.pairs or line.pairs.effect is None else f"{line.pairs.effect:.2f}",
        NOTHING if line.p is None else _p(line.p),
        line.verdict,
        _seeds(line),
        _reported(line),
        line.agreement.words or NOTHING,
    )


def _number(share: float | None, form: str = ".2f") -> str:
    return NOTHING if share is None else format(100 * share, form)


def _interval(interval: Interval | None, form: str = ".2f") -> str:
    if interval is None:
        return NOTHING
    return f"{_number(interval[0], form)} to {_number(interval[1], form)}"


def _p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def _seeds(line: Line) -> str:
    if line.detectable is None:
        return NOTHING
    return f"> {MOST_SEEDS:,}" if line.seeds_needed is None else f"{line.seeds_needed:,}"


def _reported(line: Line) -> str:
    if line.reported is None:
        return NOTHING
    expected = line.agreement.expected
    return f"{line.reported.accuracy:g}" + (
        "" if expected is None else f" ({_number(expected, '+.2f')})"
    )


def markdown(of: Comparison) -> str:
    """The whole table with its heading and notes."""
    headers, cells = rows(of)
    table = [headers, tuple("---" for _ in headers), *cells]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table]
    notes = [f"- {note}" for note in footing(of)]
    parts = [f"# {of.title}", " ".join(heading(of)), "\n".join(lines), "\n".join(notes)]
    return "\n\n".join(part for part in parts if part) + "\n"


def csv_text(of: Comparison) -> str:
    """One line per row, numbers unrounded (accuracies and differences as shares from 0 to 1)."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(_raw(of, of.lines[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_raw(of, line) for line in of.lines)
    return file.getvalue()


def _raw(of: Comparison, line: Line) -> dict[str, Any]:
    accuracy, pairs = line.accuracy, line.pairs
    low, high = (accuracy and accuracy.interval) or (None, None)
    difference = pairs and pairs.difference
    least, most = (difference and difference.interval) or (None, None)
    return {
        "row": line.row,
        "data": of.data,
        "split": of.split,
        "scale": of.scale,
        "n": len(line.accuracies),
        "mean": accuracy and accuracy.mean,
        "deviation": accuracy and accuracy.deviation,
        "low": low,
        "high": high,
        "pairs": difference.n if difference else 0,
        "difference": difference and difference.mean,
        "difference_deviation": difference and difference.deviation,
        "difference_low": least,
        "difference_high": most,
        "d_z": pairs and pairs.effect,
        "p": pairs and pairs.p,
        "p_holm": line.p,
        "detectable": line.detectable,
        "seeds_for_0.3_points": line.seeds_needed,
        "verdict": line.verdict,
        "reported": line.reported and line.reported.accuracy / 100,
        "reported_data": line.reported and line.reported.data,
        "reported_split": line.reported and line.reported.split,
        "agrees": line.agreement.agrees,
        "agreement": line.agreement.words,
        "accuracies": " ".join(f"{seed}:{value:.6f}" for seed, value in line.accuracies.items()),
    }


def comparison_of(tree: Any) -> Comparison:
    """The comparison that ``as_json`` made plain. Raises RunFolderError for anything else."""
    what = "the comparison is not one that this cifarlab writes"
    hint = "run the study again: finished runs are taken as they are"
    comparison: Comparison = restore(Comparison, tree, what, hint)
    if comparison.baseline not in [line.row for line in comparison.lines]:
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
