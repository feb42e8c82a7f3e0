"""Compare rows of runs: which is better, by how much, and whether that is significant.

Everything here is a pure function of a metric's values; ``table`` and ``figure`` present it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from cifarlab.evaluation.by_image import ImageComparison
from cifarlab.experiments.study.agreement import (
    Agreement,
    RankCorrelation,
    correlate_ranks,
    find_basis,
    measure_agreement,
)
from cifarlab.experiments.study.columns import Value, summarize_columns
from cifarlab.experiments.study.margin import MarginRow
from cifarlab.metrics.kinds import ACCURACY, MetricFacts
from cifarlab.recipes.catalog import Reported
from cifarlab.run_folder.run_data import RunData
from cifarlab.stats.paired import (
    ALPHA,
    PairedComparison,
    Summary,
    compare_pairs,
    detectable_difference,
    holm,
    seeds_needed,
    summarize,
)
from cifarlab.system.errors import UserError

Columns = dict[str, float | None]
REFERENCE_GAP = 0.003  # every table says how many seeds detect it: 0.3 points of accuracy


class Outcome(NamedTuple):
    """A run of a row: a metric's values, or the reason why it has none.

    ``fingerprint`` is the recipe's, seed included; ``data`` is the name of the measured data.
    """

    row: str
    seed: int
    fingerprint: str = ""
    data: str = ""
    test: float | None = None
    val: float | None = None
    failure: str = ""


class ComparisonRow(NamedTuple):
    """The results of one row.

    ``values`` of the metric are by seed. ``pairs`` compares the seeds in common with the baseline;
    ``p`` is corrected for all rows; ``detectable`` is the smallest true difference that so many
    pairs detect with a power of 80 %; ``seeds_needed`` is how many detect REFERENCE_GAP.
    """

    name: str
    values: dict[int, float]
    summary: Summary | None
    pairs: PairedComparison | None = None
    p: float | None = None
    detectable: float | None = None
    seeds_needed: int | None = None
    reported: Reported | None = None
    agreement: Agreement = Agreement()
    verdict: str = ""
    columns: tuple[Value, ...] = ()


class Comparison(NamedTuple):
    """A comparison of rows; ``split`` is ``test`` or ``val``, ``scale`` the study's.

    ``runs`` are those of each row; a comparison that was read from a file has none. ``by_image``
    and ``margin_rows`` are there where they were asked for.
    """

    title: str
    baseline: str
    data: str
    split: str
    scale: float
    rows: tuple[ComparisonRow, ...]
    rank_correlation: RankCorrelation | None
    notes: tuple[str, ...]
    metric: MetricFacts = ACCURACY
    runs: tuple[tuple[Any, ...], ...] = ()
    by_image: tuple[ImageComparison, ...] = ()
    margin_rows: tuple[MarginRow, ...] = ()

    def with_notes(self, notes: Sequence[str]) -> "Comparison":
        """Return a copy that begins its notes with these."""
        return self._replace(notes=(*notes, *self.notes))

    def with_runs(
        self, runs: Mapping[str, Sequence[RunData]], measure: Callable[[RunData], Columns]
    ) -> "Comparison":
        """A copy with the runs of each row, and the columns that ``measure`` finds of a run."""
        by_row = tuple(tuple(runs.get(row.name, ())) for row in self.rows)
        rows = tuple(
            row._replace(columns=summarize_columns([*map(measure, of_row)], row.reported))
            for row, of_row in zip(self.rows, by_row, strict=True)
        )
        return self._replace(rows=rows, runs=by_row)


def compare(
    title: str,
    rows: Sequence[str],
    baseline: str,
    outcomes: Sequence[Outcome],
    reported: Mapping[str, Reported] | None = None,
    scale: float = 1.0,
    metric: MetricFacts = ACCURACY,
) -> Comparison:
    """Compare rows with a baseline by a metric, paired by seed.

    The test split is compared where every run has opened it, else the validation split. Reported
    numbers of another metric than accuracy, or on other data, are left out.

    Args:
        title: title of the table
        rows: names of the rows in their order
        baseline: the row that the others are compared with
        outcomes: the runs
        reported: the reports' numbers by row
        scale: scale of the study
        metric: name, direction and unit of the metric

    Raises:
        UserError: no run is finished, or neither split has the metric for all runs
    """
    results = sorted((o for o in outcomes if not o.failure), key=lambda o: o.seed)
    split = _split(results, outcomes, metric)
    by_row = {row: [o for o in results if o.row == row] for row in rows}
    data = (by_row[baseline] or results)[0].data
    pair_rows = [_row(name, by_row, baseline, data, split) for name in rows]
    pairs = {row.name: row.pairs for row in pair_rows}
    known_numbers = (reported or {}) if metric.name == "accuracy" else {}
    numbers = {
        row: number
        for row, number in known_numbers.items()
        if row in rows and find_basis(number, data, scale)
    }
    summaries = {row.name: row.summary for row in pair_rows if row.summary}
    agreements = measure_agreement(baseline, summaries, pairs, numbers, data, split, scale)
    p_values = {row: pair.p for row, pair in pairs.items() if pair and pair.p is not None}
    corrected_p = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    alpha = ALPHA / max(1, len(p_values))  # the strictest level that p meets
    table = []
    for row in pair_rows:
        row = _test(row, corrected_p.get(row.name), alpha, metric)
        agreement = agreements.get(row.name, Agreement())
        table.append(row._replace(reported=numbers.get(row.name), agreement=agreement))
    others = dict.fromkeys(n.data for row, n in known_numbers.items() if row not in numbers)
    notes = (
        *_notes(outcomes, table, split, len(p_values), metric),
        *(f"The reported numbers are on {theirs}, not on {data}: left out." for theirs in others),
    )
    means = {row: summaries[row].mean for row in agreements if agreements[row].basis}
    correlation = correlate_ranks(means, {row: numbers[row].accuracy for row in means})
    return Comparison(title, baseline, data, split, scale, tuple(table), correlation, notes, metric)


def _row(
    name: str, by_row: Mapping[str, Sequence[Outcome]], baseline: str, data: str, split: str
) -> ComparisonRow:
    """Return a row with its pairs, or with a verdict that says why it is not compared."""
    values, theirs = (
        {o.seed: float(getattr(o, split)) for o in by_row[row]} for row in (name, baseline)
    )
    row = ComparisonRow(name, values, summarize(list(values.values())) if values else None)
    if reason := _skip_reason(name, baseline, by_row, data):
        return row._replace(verdict=reason)
    common = [seed for seed in values if seed in theirs]
    pairs = compare_pairs([values[seed] for seed in common], [theirs[seed] for seed in common])
    return row._replace(pairs=pairs)


def _test(row: ComparisonRow, p: float | None, alpha: float, metric: MetricFacts) -> ComparisonRow:
    """Return a row with its test results; ``p`` is corrected for all rows."""
    if not row.pairs:
        return row
    difference = row.pairs.difference
    least = n_needed = None
    if difference.std:
        least = detectable_difference(difference.std, difference.n, alpha)
        n_needed = seeds_needed(difference.std, REFERENCE_GAP, alpha)
    verdict = _verdict(difference, p, least, metric)
    return row._replace(p=p, detectable=least, seeds_needed=n_needed, verdict=verdict)


def _split(results: Sequence[Outcome], outcomes: Sequence[Outcome], metric: MetricFacts) -> str:
    """Return the split that has the metric for all finished runs. Raises UserError."""
    if not results:
        reasons = dict.fromkeys(f"{o.row}, seed {o.seed}: {o.failure}" for o in outcomes)
        raise UserError(
            "there is nothing to compare: no run finished",
            next(iter(reasons), "train some runs first"),
        )
    for split in ("test", "val"):
        if all(getattr(o, split) is not None for o in results):
            return split
    example = next(o for o in results if o.val is None)
    raise UserError(
        f"the runs have no {metric.title} in common: some did not open their test split, and "
        f"{example.row} holds no validation images out",
        "open the test split with 'cifarlab evaluate RUN --split test', or train with "
        "data.val_fraction above 0",
    )


def _skip_reason(
    row: str, baseline: str, by_row: Mapping[str, Sequence[Outcome]], data: str
) -> str:
    """Return the reason why a row is not compared with the baseline; empty where it is."""
    if not by_row[row]:
        return "no run finished"
    if row == baseline:
        return "the baseline"
    if any(o.data != data for o in by_row[row]):
        return f"measured on other data than {data}: not compared"
    recipes = {o.seed: o.fingerprint for o in by_row[baseline]}
    common = [o for o in by_row[row] if o.seed in recipes]
    if not common:
        return "no seed in common with the baseline: not compared"
    if all(o.fingerprint and o.fingerprint == recipes[o.seed] for o in common):
        return "no difference: the same recipe as the baseline"
    return ""


def _verdict(difference: Summary, p: float | None, least: float | None, metric: MetricFacts) -> str:
    """Return the conclusion about a row against the baseline."""
    if difference.std is None:
        return "one pair of runs: no test is possible"
    if p is None or least is None:  # the differences do not vary
        if abs(difference.mean) < 1e-9:
            return "no difference: equal in every pair"
        points = f"{metric.number(difference.mean, '+')}{' points' if metric.percent else ''}"
        return f"{points} in every pair: without spread, no test"
    if p < ALPHA:
        return "better" if metric.sign * difference.mean > 0 else "worse"
    if metric.percent and least >= 0.5:  # more than any two accuracies worth comparing
        return f"no difference seen: n = {difference.n} is too few to show any"
    return f"no difference seen: n = {difference.n} can detect {metric.gap(least)}"


def _notes(
    outcomes: Sequence[Outcome],
    rows: Sequence[ComparisonRow],
    split: str,
    tests: int,
    metric: MetricFacts,
) -> tuple[str, ...]:
    """Return the notes that a reader needs besides the numbers."""
    notes = []
    if split == "val":
        n_closed = sum(not o.failure and o.test is None for o in outcomes)
        runs = "1 run" if n_closed == 1 else f"{n_closed} runs"
        notes.append(f"Validation {metric.title}, since {runs} did not open the test split.")
    counts = {row.name: len(row.values) for row in rows}
    if len(set(counts.values())) > 1:
        run_counts = ", ".join(f"{name} {n}" for name, n in counts.items())
        notes.append(
            f"Not all rows have the same number of runs: {run_counts}. Pairs are common seeds."
        )
    if max(counts.values()) == 1:
        notes.append("One seed per row: no interval, no test; take two seeds at least.")
    for row in rows:
        if row.summary and row.summary.std == 0:
            n_seeds = len(row.values)
            notes.append(f"{row.name}: all {n_seeds} seeds have the same {metric.title}.")
    if tests > 1:
        notes.append(
            f"p is corrected for {tests} comparisons (Holm); what n can detect, and the seeds "
            f"needed, are for a test at 0.05 / {tests}."
        )
    missing: dict[tuple[str, str], list[str]] = {}
    for o in outcomes:
        if o.failure:
            missing.setdefault((o.row, o.failure), []).append(str(o.seed))
    notes += [f"{row}, seed {', '.join(seeds)}: {text}." for (row, text), seeds in missing.items()]
    return tuple(notes)
