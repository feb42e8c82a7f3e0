"""Compare rows of runs: which is better, by how much, and whether that is significant.

Everything here is a pure function of a metric's values; ``table`` and ``figure`` present it.
"""

from collections.abc import Callable, Mapping, Sequence, Set
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
from cifarlab.experiments.study.margin import MarginRow, compare_within_margin
from cifarlab.experiments.study.verdicts import (
    correct,
    evaluate_pairs,
    find_verdict,
    fit_plan,
    is_decision,
    with_interval,
)
from cifarlab.metrics.kinds import ACCURACY, MetricFacts
from cifarlab.recipes.catalog import Reported
from cifarlab.run_folder.run_data import RunData
from cifarlab.stats.paired import PairedComparison, Summary, summarize
from cifarlab.stats.sequential import Plan
from cifarlab.system.errors import UserError

Columns = dict[str, float | None]
_NO_RUN = "no run finished"
_NO_PAIR = "no seed in common with the baseline: not compared"


class Outcome(NamedTuple):
    """A run of a row: a metric's values, or the reason why it has none.

    ``fingerprint`` is the recipe's, seed included; ``data`` is the name of the measured data;
    ``is_pending``: the run may still come, or be tried again; ``time``: when it began.
    """

    row: str
    seed: int
    fingerprint: str = ""
    data: str = ""
    test: float | None = None
    val: float | None = None
    failure: str = ""
    is_pending: bool = False
    time: str = ""


class ComparisonRow(NamedTuple):
    """The results of one row.

    ``values`` of the metric are by seed, in the order in which the pairs with the baseline came;
    ``pairs`` compares the seeds that both have. Intervals and p values hold under ``plan``, which
    is the comparison's, or its one look at what is there where no more can come. ``p`` (of no
    difference) and ``same_p`` (of a difference beyond the margin) are corrected for all rows, that
    in ``pairs`` is not.
    """

    name: str
    values: dict[int, float]
    summary: Summary | None
    pairs: PairedComparison | None = None
    p: float | None = None
    same_p: float | None = None
    reported: Reported | None = None
    agreement: Agreement = Agreement()
    verdict: str = ""
    columns: tuple[Value, ...] = ()
    plan: Plan = Plan.open()

    def differences(self, baseline: Mapping[int, float]) -> list[float]:
        """Return the differences from the baseline's values, in the order of the pairs."""
        return [value - baseline[seed] for seed, value in self.values.items() if seed in baseline]

    @property
    def is_decided(self) -> bool:
        """Return whether the row needs no more seeds: it is better, worse or the same."""
        return is_decision(self.verdict)


class Comparison(NamedTuple):
    """A comparison of rows; ``split`` is ``test`` or ``val``, ``scale`` the study's.

    ``plan`` says at which looks p and intervals hold; rows that differ by less than ``margin``
    count as the same; p is corrected for ``n_tests`` rows. ``runs`` are those of each row; a
    comparison that was read from a file has none. ``by_image`` and ``margin_rows`` are there where
    they were asked for.
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
    plan: Plan = Plan.open()
    margin: float | None = None
    n_tests: int = 0
    runs: tuple[tuple[Any, ...], ...] = ()
    by_image: tuple[ImageComparison, ...] = ()
    margin_rows: tuple[MarginRow, ...] = ()

    @property
    def runs_by_row(self) -> dict[str, tuple[Any, ...]]:
        """Return the runs of each row by its name; none where the comparison has none."""
        return dict(zip([row.name for row in self.rows], self.runs, strict=False))

    def with_notes(self, notes: Sequence[str]) -> "Comparison":
        """Return a copy that begins its notes with these."""
        return self._replace(notes=(*notes, *self.notes))

    def with_runs(
        self, runs: Mapping[str, Sequence[RunData]], measure: Callable[[RunData], Columns]
    ) -> "Comparison":
        """Return a copy with the runs of each row, and what they show.

        That is the columns that ``measure`` finds of a run, and the rows within the margin.
        """
        by_row = tuple(tuple(runs.get(row.name, ())) for row in self.rows)
        rows = tuple(
            row._replace(columns=summarize_columns([*map(measure, of_row)], row.reported))
            for row, of_row in zip(self.rows, by_row, strict=True)
        )
        comparison = self._replace(rows=rows, runs=by_row)
        if self.margin is None:
            return comparison
        return comparison._replace(margin_rows=compare_within_margin(comparison))


def compare(
    title: str,
    rows: Sequence[str],
    baseline: str,
    outcomes: Sequence[Outcome],
    reported: Mapping[str, Reported] | None = None,
    scale: float = 1.0,
    metric: MetricFacts = ACCURACY,
    plan: Plan | None = None,
    margin: float | None = None,
    n_tests: int = 0,
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
        plan: when somebody may look; None: it was not said before the runs
        margin: below which a difference counts as none
        n_tests: for how many comparisons p is corrected at least

    Raises:
        UserError: no run is finished, or neither split has the metric for all runs
    """
    plan = plan or Plan.open()
    results = sorted((o for o in outcomes if not o.failure), key=lambda o: o.seed)
    split = _split(results, outcomes, metric)
    by_row = {row: [o for o in results if o.row == row] for row in rows}
    if plan == Plan.open():  # nobody said that seeds come in their order
        by_row = {row: _sort_by_time(by_row[row], by_row[baseline]) for row in rows}
    data = (by_row[baseline] or results)[0].data
    pending = {o.row for o in outcomes if o.is_pending}
    scene = _Scene(by_row, baseline, data, split, plan, margin, pending)
    table = [_row(name, scene) for name in rows]
    n_tests = max(n_tests, sum(_is_tested(row, scene) for row in table))
    base = table[list(rows).index(baseline)].values
    table = _decide(table, base, n_tests, margin, metric)
    known_numbers = (reported or {}) if metric.name == "accuracy" else {}
    table, correlation = _add_reports(table, known_numbers, baseline, data, split, scale)
    usable = {row.name for row in table if row.reported}
    others = dict.fromkeys(n.data for row, n in known_numbers.items() if row not in usable)
    notes = (
        *_notes(outcomes, table, split, n_tests, metric),
        *_look_notes(table, plan),
        *(f"The reported numbers are on {theirs}, not on {data}: left out." for theirs in others),
    )
    facts = tuple(table), correlation, notes, metric, plan, margin, n_tests
    return Comparison(title, baseline, data, split, scale, *facts)


def _add_reports(
    rows: Sequence[ComparisonRow],
    reported: Mapping[str, Reported],
    baseline: str,
    data: str,
    split: str,
    scale: float,
) -> tuple[list[ComparisonRow], RankCorrelation | None]:
    """Return the rows with the reports' numbers, and how well the two orders agree."""
    names = [row.name for row in rows]
    numbers = {
        row: number
        for row, number in reported.items()
        if row in names and find_basis(number, data, scale)
    }
    summaries = {row.name: row.summary for row in rows if row.summary}
    pairs = {row.name: row.pairs for row in rows}
    agreements = measure_agreement(baseline, summaries, pairs, numbers, data, split, scale)
    means = {row: summaries[row].mean for row in agreements if agreements[row].basis}
    correlation = correlate_ranks(means, {row: numbers[row].accuracy for row in means})
    return [
        row._replace(
            reported=numbers.get(row.name), agreement=agreements.get(row.name, Agreement())
        )
        for row in rows
    ], correlation


class _Scene(NamedTuple):
    """What all rows of a comparison have in common; ``pending`` rows may still get runs."""

    by_row: Mapping[str, Sequence[Outcome]]
    baseline: str
    data: str
    split: str
    plan: Plan
    margin: float | None
    pending: Set[str]


def _row(name: str, scene: _Scene) -> ComparisonRow:
    """Return a row with its pairs, or with a verdict that says why it is not compared."""
    values, theirs = (
        {o.seed: float(getattr(o, scene.split)) for o in scene.by_row[row]}
        for row in (name, scene.baseline)
    )
    is_complete = scene.pending.isdisjoint((name, scene.baseline))
    row = ComparisonRow(name, values, None)
    if values:
        numbers = list(values.values())[: scene.plan.most]
        plan = fit_plan(scene.plan, len(numbers), is_complete)
        row = row._replace(summary=with_interval(summarize(numbers), numbers, plan))
    if reason := _skip_reason(name, scene.baseline, scene.by_row, scene.data):
        return row._replace(verdict=reason)
    common = [seed for seed in values if seed in theirs]
    plan = fit_plan(scene.plan, len(common), is_complete)
    pairs, same_p = evaluate_pairs(
        [values[seed] for seed in common], [theirs[seed] for seed in common], plan, scene.margin
    )
    return row._replace(pairs=pairs, same_p=same_p, plan=plan)


def _sort_by_time(outcomes: Sequence[Outcome], baseline: Sequence[Outcome]) -> list[Outcome]:
    """Return a row's runs in the order in which their pairs with the baseline's were begun."""
    times = {o.seed: o.time for o in baseline}
    return sorted(outcomes, key=lambda o: max(o.time, times.get(o.seed, "")))


def _is_tested(row: ComparisonRow, scene: _Scene) -> bool:
    """Return whether p is corrected for a row: it has pairs, or may still get them."""
    is_pending = not scene.pending.isdisjoint((row.name, scene.baseline))
    return row.pairs is not None or (is_pending and row.verdict in (_NO_RUN, _NO_PAIR))


def _decide(
    rows: Sequence[ComparisonRow],
    base: Mapping[int, float],
    n_tests: int,
    margin: float | None,
    metric: MetricFacts,
) -> list[ComparisonRow]:
    """Return the rows with corrected p values and verdicts; ``base``: the baseline's values."""
    ps = correct({row.name: row.pairs and row.pairs.p for row in rows}, n_tests)
    same_ps = correct({row.name: row.same_p for row in rows}, n_tests)
    decided = []
    for row in rows:
        if row.pairs:
            p, same_p = ps.get(row.name), same_ps.get(row.name)
            differences = row.differences(base)
            verdict = find_verdict(row.pairs, differences, row.plan, (p, same_p), margin, metric)
            row = row._replace(p=p, same_p=same_p, verdict=verdict)
        decided.append(row)
    return decided


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
        return _NO_RUN
    if row == baseline:
        return "the baseline"
    if any(o.data != data for o in by_row[row]):
        return f"measured on other data than {data}: not compared"
    recipes = {o.seed: o.fingerprint for o in by_row[baseline]}
    common = [o for o in by_row[row] if o.seed in recipes]
    if not common:
        return _NO_PAIR
    if all(o.fingerprint and o.fingerprint == recipes[o.seed] for o in common):
        return "no difference: the same recipe as the baseline"
    return ""


def _notes(
    outcomes: Sequence[Outcome],
    rows: Sequence[ComparisonRow],
    split: str,
    n_tests: int,
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
    if n_tests > 1:
        notes.append(
            f"p is corrected for {n_tests} comparisons (Holm); an interval is its row's own."
        )
    missing: dict[tuple[str, str], list[str]] = {}
    for o in outcomes:
        if o.failure:
            missing.setdefault((o.row, o.failure), []).append(str(o.seed))
    notes += [f"{row}, seed {', '.join(seeds)}: {text}." for (row, text), seeds in missing.items()]
    return tuple(notes)


def _look_notes(rows: Sequence[ComparisonRow], plan: Plan) -> list[str]:
    """Return notes where pairs wait for the first look, or came after the last one."""
    waiting = [row for row in rows if row.pairs and row.pairs.difference.std and row.p is None]
    first = plan.stages[0].first
    names = ", ".join(f"{row.name} {row.pairs.difference.n}" for row in waiting if row.pairs)
    text = f"The first look is after {first} pairs, with no p and no interval before: {names}."
    notes = [text] if waiting else []
    if late := [f"{row.name} {len(row.values)}" for row in rows if len(row.values) > plan.most]:
        names = ", ".join(late)
        notes.append(f"The last look is after {plan.most} pairs; later seeds don't count: {names}.")
    return notes
