"""A search as a table, a page and plain values."""

import csv
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

from cifarlab.experiments.search.event_log import stopped_words
from cifarlab.experiments.search.finalists import Finals, Flattery, flattery_of
from cifarlab.experiments.search.folder import trial_name
from cifarlab.experiments.search.importance import Importance
from cifarlab.experiments.search.results import Explained, Row, Rung
from cifarlab.experiments.search.space import label
from cifarlab.experiments.search.trial_history import Trial
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.table import as_json, comparison_of, markdown, scale_words
from cifarlab.runs.schemas import restore

NOTHING = "-"
_ENDS = {
    "planned": "ran to its end",
    "patience": "ended by its patience",
    "budget": "ended by its budget",
    None: "not finished",
}


def heading(of: Explained) -> list[str]:
    """What all numbers share, a sentence per line."""
    scaled = [] if of.scale == 1 else [scale_words(of.scale)]
    return [
        f"{len(of.rows)} trials of up to {of.search.epochs(of.scale)} epochs on {of.data}; "
        f"drawn by {of.search.sampler.kind}, stopped by {of.search.scheduler.kind}.",
        *scaled,
        "Score: the best epoch's validation accuracy in per cent; the test split was not opened.",
    ]


def rows(of: Explained) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headers and cells as text, the best trial first."""
    keys = list(of.search.space)
    headers = ("rank", "trial", "score", "training", "epoch", "epochs", "how it ended", *keys)
    return headers, [_cells(row, keys) for row in of.rows]


def _cells(row: Row, keys: Sequence[str]) -> tuple[str, ...]:
    values = row.trial.values
    return (
        str(row.rank),
        trial_name(row.trial.number),
        percent(row.score),
        percent(row.train),
        NOTHING if row.best is None else str(row.best),
        str(row.epochs),
        ending(row.trial),
        *(label(values[key]) if key in values else NOTHING for key in keys),
    )


def ending(trial: Trial) -> str:
    """How a trial ended, in words."""
    if trial.failure:
        return f"failed: {trial.failure['what']}"
    if stop := next((v for v in trial.verdicts if v.stopped), None):
        return f"stopped {stopped_words(stop._asdict())}"
    return _ENDS[trial.why]


def percent(share: float | None) -> str:
    """A share of 1 in per cent, to hundredths."""
    return NOTHING if share is None else f"{100 * share:.2f}"


def rung_rows(rungs: Sequence[Rung]) -> tuple[tuple[str, ...], Sequence[tuple[str, ...]]]:
    """Headers and cells of the rungs."""
    cells = [(str(r.rung), str(r.came), str(r.stopped), percent(r.cutoff)) for r in rungs]
    return ("rung (epoch)", "trials", "stopped there", "last cut-off"), cells


def importance_rows(
    found: Sequence[Importance],
) -> tuple[tuple[str, ...], Sequence[tuple[str, ...]]]:
    """Headers and cells of the keys' importance."""
    return ("key", "importance", "95 % interval", "by chance up to"), [
        (i.key, f"{i.share:.2f}", f"{i.low:.2f} to {i.high:.2f}", f"{i.chance:.2f}") for i in found
    ]


def flattery_words(of: Flattery) -> str:
    """By how much the search flattered a trial."""
    reach = of.interval
    interval = reach and f" (95 % interval {100 * reach[0]:+.2f} to {100 * reach[1]:+.2f})"
    return (
        f"{trial_name(of.trial)}: {percent(of.score)} % in the search, {percent(of.mean)} % over "
        f"{of.n} other seed{'s' if of.n > 1 else ''}: the search's number was "
        f"{100 * of.excess:+.2f} points off{interval or '; one seed gives no interval'}."
    )


def page(of: Explained, finals: Finals | None, figures: Sequence[tuple[str, str]]) -> str:
    """The whole search as Markdown; ``figures`` are (file, what it shows)."""
    parts = [f"# {of.search.name}", of.search.about, " ".join(heading(of))]
    if of.best:
        parts.append(
            f"Best: {trial_name(of.best.trial.number)}, {percent(of.best.score)} %, in best.yaml. "
            + ("" if finals else "The best of many is optimistic: --seeds 3 says by how much.")
        )
    if finals:
        words = "\n".join(f"- {flattery_words(one)}" for one in finals.flattery)
        comparison = markdown(finals.comparison).replace("# ", "### ", 1)
        parts += ["## Finalists over other seeds", words, comparison.strip()]
    parts += ["## Trials", _table(*rows(of))]
    if of.rungs:
        parts += ["## Rungs", _table(*rung_rows(of.rungs))]
    if of.importance:
        parts += ["## What decides", _table(*importance_rows(of.importance)), IMPORTANCE]
    parts += [f"![{words}]({file})" for file, words in figures]
    return "\n\n".join(part for part in parts if part) + "\n"


IMPORTANCE = (
    "Importance: each key's share in what tells the better trials from the rest (PED-ANOVA); its "
    "interval by bootstrap over trials. A key that decides nothing exceeds the last column in "
    "5 % of the cases. Trials that were stopped count with the score that they had then; of more "
    "than 200 trials, 200 are looked at."
)


def _table(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *cells]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def csv_text(of: Explained) -> str:
    """One line per trial, numbers unrounded, accuracies as shares from 0 to 1."""
    file = io.StringIO()
    lines = [_raw(row, list(of.search.space)) for row in of.rows]
    writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue()


def _raw(row: Row, keys: Sequence[str]) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "trial": row.trial.number,
        "score": row.score,
        "training": row.train,
        "epoch": row.best,
        "epochs": row.epochs,
        "why": row.trial.why,
        "ended": ending(row.trial),
        **{key: row.trial.values.get(key) for key in keys},
    }


class Found(NamedTuple):
    """What search.json keeps of an ended search, beside its trials."""

    rungs: tuple[Rung, ...]
    importance: tuple[Importance, ...]
    flattery: tuple[Flattery, ...]
    comparison: Comparison | None


def found_of(tree: dict[str, Any]) -> Found:
    """What ``as_tree`` made plain. Raises RunFolderError for anything else."""
    what = "what was found is not as this cifarlab writes it"
    hint = "run the search again with --resume: finished trials are taken as they are"
    finals = tree.get("finals") or {"flattery": [], "comparison": None}
    comparison = finals.get("comparison")
    return Found(
        restore(tuple[Rung, ...], tree.get("rungs"), what, hint),
        restore(tuple[Importance, ...], tree.get("importance"), what, hint),
        flattery_of(finals.get("flattery")),
        comparison and comparison_of(comparison),
    )


def as_tree(of: Explained, finals: Finals | None) -> dict[str, Any]:
    """Plain values for search.json."""
    return {
        "data": of.data,
        "table": [
            {**_raw(row, list(of.search.space)), "rungs": as_json(tuple(row.trial.verdicts))}
            for row in of.rows
        ],
        "rungs": as_json(of.rungs),
        "importance": as_json(of.importance),
        "finals": finals
        and {
            "comparison": as_json(finals.comparison),
            "flattery": as_json(finals.flattery),
            "path": finals.path,
            "failed": finals.failed,
        },
    }
