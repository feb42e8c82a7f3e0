"""From the runs of several rows to who is better, by how much, and whether that is real.

Everything here is a pure function of accuracies (0..1); ``table`` and ``figure`` show it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from cifarlab.experiments.study.agreement import (
    Agreement,
    RankCorrelation,
    agreement,
    comparable,
    rank_correlation,
)
from cifarlab.experiments.study.definition import Reported
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

SMALL = 0.003  # the difference whose price in seeds every table names: 0.3 points


class Outcome(NamedTuple):
    """One run of a row: its accuracies, or, in words, why it has none.

    ``fingerprint`` is the recipe's, seed included; ``data`` is what it was measured on.
    """

    row: str
    seed: int
    fingerprint: str = ""
    data: str = ""
    test: float | None = None
    val: float | None = None
    failure: str = ""


class ComparisonRow(NamedTuple):
    """What is known of one row.

    ``accuracies`` are by seed. ``pairs`` compares the seeds that it shares with the baseline;
    ``p`` is corrected for all rows; ``detectable`` is the least true difference that so many
    pairs find with 80 %, and ``seeds_needed`` how many find one of SMALL.
    """

    name: str
    accuracies: dict[int, float]
    accuracy: Summary | None
    pairs: PairedComparison | None
    p: float | None
    detectable: float | None
    seeds_needed: int | None
    reported: Reported | None
    agreement: Agreement
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """A whole table; ``split`` is ``test`` or ``val``, ``scale`` the study's."""

    title: str
    baseline: str
    data: str
    split: str
    scale: float
    rows: tuple[ComparisonRow, ...]
    rank_correlation: RankCorrelation | None
    notes: tuple[str, ...]

    @property
    def baseline_row(self) -> ComparisonRow:
        """The baseline's line."""
        return next(row_of for row_of in self.rows if row_of.name == self.baseline)

    def with_notes(self, notes: Sequence[str]) -> "Comparison":
        """A copy that begins its notes with these."""
        return replace(self, notes=(*notes, *self.notes))


def compare(
    title: str,
    rows: Sequence[str],
    baseline: str,
    outcomes: Sequence[Outcome],
    reported: Mapping[str, Reported] | None = None,
    scale: float = 1.0,
) -> Comparison:
    """Compare ``rows`` with the row ``baseline``, paired by seed.

    By test accuracy where every run opened its test split, else by validation accuracy. Numbers
    ``reported`` on other data than the runs' are left out. Raises
    UserError where no run finished, or where neither accuracy is there for all runs.
    """
    finished = [outcome for outcome in outcomes if not outcome.failure]
    split = _split(finished, outcomes)
    by_row = {
        row: sorted((o for o in finished if o.row == row), key=lambda o: o.seed) for row in rows
    }
    data = (by_row[baseline] or finished)[0].data
    accuracies = {
        row: {o.seed: float(getattr(o, split)) for o in mine} for row, mine in by_row.items()
    }
    skip_reasons = {row: _skip_reason(row, baseline, by_row, data) for row in rows}
    pairs = {
        row: None if skip_reasons[row] else _pairs(accuracies[row], accuracies[baseline])
        for row in rows
    }
    tested = {row: p for row, pair in pairs.items() if pair and (p := pair.p) is not None}
    corrected = dict(zip(tested, holm(list(tested.values())), strict=True))
    summaries = {
        row: summarize(list(seed_accuracies.values()))
        for row, seed_accuracies in accuracies.items()
        if seed_accuracies
    }
    comparable_numbers = {
        row: number
        for row, number in (reported or {}).items()
        if row in rows and comparable(number, data, scale)
    }
    agreements = agreement(baseline, summaries, pairs, comparable_numbers, data, split, scale)
    alpha = ALPHA / max(1, len(tested))
    rows_out = tuple(
        _comparison_row(
            row,
            accuracies[row],
            pairs[row],
            corrected.get(row),
            alpha,
            comparable_numbers.get(row),
            agreements.get(row, Agreement()),
            skip_reasons[row],
        )
        for row in rows
    )
    ranked = {row: summaries[row].mean for row in agreements if agreements[row].by}
    correlation = rank_correlation(
        ranked, {row: comparable_numbers[row].accuracy for row in ranked}
    )
    others = dict.fromkeys(
        n.data for row, n in (reported or {}).items() if row not in comparable_numbers
    )
    notes = (
        *_notes(outcomes, accuracies, split, len(tested)),
        *(f"The reported numbers are on {theirs}, not on {data}: left out." for theirs in others),
    )
    return Comparison(title, baseline, data, split, scale, rows_out, correlation, notes)


def _comparison_row(
    row: str,
    accuracies: dict[int, float],
    pairs: PairedComparison | None,
    p: float | None,
    alpha: float,
    reported: Reported | None,
    agreed: Agreement,
    skip_reason: str,
) -> ComparisonRow:
    """A row's line, from what is known of it; ``alpha`` is the strictest level that p meets."""
    spread = pairs.difference.std if pairs else None
    least = detectable_difference(spread, pairs.difference.n, alpha) if pairs and spread else None
    return ComparisonRow(
        row,
        accuracies,
        summarize(list(accuracies.values())) if accuracies else None,
        pairs,
        p,
        least,
        seeds_needed(spread, SMALL, alpha) if spread else None,
        reported,
        agreed,
        skip_reason or _verdict(pairs, p, least),
    )


def _split(finished: Sequence[Outcome], outcomes: Sequence[Outcome]) -> str:
    """Which accuracy all finished runs have."""
    if not finished:
        reasons = dict.fromkeys(f"{o.row}, seed {o.seed}: {o.failure}" for o in outcomes)
        raise UserError(
            "there is nothing to compare: no run finished",
            next(iter(reasons), "train some runs first"),
        )
    for split in ("test", "val"):
        if all(getattr(o, split) is not None for o in finished):
            return split
    without = next(o for o in finished if o.val is None)
    raise UserError(
        "the runs have no accuracy in common: some did not open their test split, and "
        f"{without.row} holds no validation images out",
        "open the test split with 'cifarlab evaluate RUN --split test', or train with "
        "data.val_fraction above 0",
    )


def _pairs(ours: Mapping[int, float], baseline: Mapping[int, float]) -> PairedComparison:
    common = [seed for seed in ours if seed in baseline]
    return compare_pairs([ours[seed] for seed in common], [baseline[seed] for seed in common])


def _skip_reason(
    row: str, baseline: str, by_row: Mapping[str, Sequence[Outcome]], data: str
) -> str:
    """Why a row is not compared with the baseline, in words; empty where it is."""
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


def _verdict(pairs: PairedComparison | None, p: float | None, least: float | None) -> str:
    """What may be said of a row beside the baseline."""
    assert pairs is not None
    difference = pairs.difference
    if difference.std is None:
        return "one pair of runs: no test is possible"
    if p is None or least is None:  # the differences do not vary
        if abs(difference.mean) < 1e-9:
            return "no difference: equal in every pair"
        return f"{100 * difference.mean:+.2f} points in every pair: without spread, no test"
    if p < ALPHA:
        return "better" if difference.mean > 0 else "worse"
    if least >= 0.5:  # no two recipes that anybody would compare differ by so much
        return f"no difference seen: n = {difference.n} is too few to show any"
    return f"no difference seen: n = {difference.n} can detect {points(least)} points"


def points(fraction: float) -> str:
    """0.0123 as ``1.2``, in points of a per cent; small ones with their digits."""
    value = 100 * fraction
    return f"{value:.1f}" if abs(value) >= 0.95 else f"{value:.2f}"


def _notes(
    outcomes: Sequence[Outcome],
    accuracies: Mapping[str, Mapping[int, float]],
    split: str,
    tests: int,
) -> tuple[str, ...]:
    """What a reader must know beside the numbers."""
    notes = []
    closed = [o for o in outcomes if not o.failure and o.test is None]
    if split == "val":
        notes.append(
            f"Validation accuracy, since {_runs(len(closed))} did not open the test split."
        )
    counts = {row: len(seed_accuracies) for row, seed_accuracies in accuracies.items()}
    if len(set(counts.values())) > 1:
        run_counts = ", ".join(f"{row} {n}" for row, n in counts.items())
        notes.append(
            f"Not all rows have the same number of runs: {run_counts}. Pairs are common seeds."
        )
    if max(counts.values()) == 1:
        notes.append("One seed per row: no interval, no test; take two seeds at least.")
    for row, seed_accuracies in accuracies.items():
        if len(seed_accuracies) > 1 and summarize(list(seed_accuracies.values())).std == 0:
            notes.append(f"{row}: all {len(seed_accuracies)} seeds have the same accuracy.")
    if tests > 1:
        notes.append(
            f"p is corrected for {tests} comparisons (Holm); what n can detect, and the seeds "
            f"needed, are for a test at 0.05 / {tests}."
        )
    missing: dict[tuple[str, str], list[str]] = {}
    for o in outcomes:
        if o.failure:
            missing.setdefault((o.row, o.failure), []).append(str(o.seed))
    notes += [f"{row}, seed {', '.join(seeds)}: {why}." for (row, why), seeds in missing.items()]
    return tuple(notes)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
