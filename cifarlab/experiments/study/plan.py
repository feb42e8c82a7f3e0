"""The plan of a study: what is decided before its first run, so that looking costs no validity.

It stands in study.json from then on. Other rows, seeds, margins or metrics once results are there
are refused, since they might have been chosen by what was seen. Where runs of the rows were there
before the plan, nobody knows what was chosen by them: the plan then takes all looks for possible,
corrects for all recipes that had such runs, and calls no row the same.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from cifarlab.experiments.study.definition import MAX_SEEDS, Study
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint_row
from cifarlab.run_folder.schemas import StoredModel
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.sequential import Plan, PlanStage
from cifarlab.system.errors import UserError

_FRESH = "take fresh seeds: --first-seed {next}"
_LATE_MARGIN = "The margin was named after the runs: it must not be chosen by them."
_SEEDS = (
    "looking again with more seeds calls equal recipes different too often; take fresh seeds, with "
    "all looks named: --first-seed {next} --until decided --most 10"
)


class StoredStage(StoredModel):
    """Looks after each number of pairs from ``first`` to ``last``; see stats/sequential.py."""

    first: int = Field(ge=1, le=MAX_SEEDS)
    last: int = Field(ge=1, le=MAX_SEEDS)
    part: float = Field(gt=0, le=1)


class Terms(NamedTuple):
    """By what a comparison decides, what it does not promise, and when a plan named its rows."""

    plan: Plan | None
    margin: float | None
    n_tests: int
    notes: list[str]
    time: str = ""

    @classmethod
    def without_plan(
        cls, metric: MetricFacts, margin: float | None, notes: Sequence[str]
    ) -> "Terms":
        """Return the terms of runs that no plan has named.

        Args:
            metric: what is compared
            margin: in points where the metric is in per cent, else in its unit; None without one
            notes: what else they do not promise
        """
        limit = None if margin is None else margin / metric.factor
        return cls(None, limit, 0, [*([] if margin is None else [_LATE_MARGIN]), *notes])


class StudyPlan(StoredModel):
    """What a study decides by; ``rows`` are the fingerprints of the rows' recipes with seed 0.

    ``margin`` is as the study has it, in points where the metric is in per cent. ``n_seen`` and
    ``n_baseline_seen`` are the numbers of planned runs that were there before the plan was written,
    at ``time``. If there were any beside the baseline's, ``n_recipes_seen`` recipes had runs of the
    planned seeds, each of which might have become a row. ``number``: of the studies that ask the
    same, this is the first, second, ...
    """

    until: str
    first_seed: int
    n_seeds: int
    margin: float | None = None
    metric: str
    baseline: str
    rows: dict[str, str]
    looks: list[StoredStage] = Field(min_length=1)
    n_seen: int = 0
    n_baseline_seen: int = 0
    n_recipes_seen: int = 0
    number: int = 1
    time: str

    @property
    def plan(self) -> Plan:
        """Return the looks as the statistics take them."""
        return Plan(tuple(PlanStage(look.first, look.last, look.part) for look in self.looks))

    def margin_of(self, metric: MetricFacts) -> float | None:
        """Return the margin in a metric's own unit, a fraction where that is in per cent.

        It is None for another metric than the study's, and where it was named after the runs.
        """
        if self.margin is None or metric.name != self.metric or self.n_seen:
            return None
        return self.margin / metric.factor

    def is_same_question(self, other: "StudyPlan") -> bool:
        """Return whether another study has the same baseline, and a row in common."""
        ours, theirs = dict(self.rows), dict(other.rows)
        is_same_baseline = ours.pop(self.baseline, "") == theirs.pop(other.baseline, "")
        return is_same_baseline and not set(ours.values()).isdisjoint(theirs.values())

    def find_changes(self, has_baseline: bool, metric: str, margin: float | None) -> list[str]:
        """Return what a comparison has otherwise than planned, in words.

        Args:
            has_baseline: whether it has the baseline of the plan
            metric: the name of its metric
            margin: its own; None: that of the plan
        """
        terms = {
            f"{self.baseline} as the baseline": has_baseline,
            f"{self.metric} as the metric": metric == self.metric,
            f"{_or_none(self.margin)} as the margin": margin in (None, self.margin),
        }
        return [words for words, is_planned in terms.items() if not is_planned]

    def settle_terms(
        self, baseline: str, n_rows: int, metric: MetricFacts, margin: float | None
    ) -> Terms:
        """Return the plan's terms where a comparison keeps to it; else those of a later choice.

        Args:
            baseline: the fingerprint of its baseline's recipe with seed 0
            n_rows: the number of its rows
            metric: its metric
            margin: its own margin in points or the metric's unit; None: that of the plan
        """
        has_baseline = baseline == self.rows.get(self.baseline)
        limit = self.margin_of(metric)
        if not (changes := self.find_changes(has_baseline, metric.name, margin)):
            return Terms(self.plan, limit, self.n_recipes_seen, self.notes(), self.time)
        if margin is not None and margin != self.margin:
            limit = margin / metric.factor
        # whoever chooses the baseline after the runs has any two rows to choose from
        n_pairs = 0 if has_baseline else n_rows * (n_rows - 1) // 2
        note = (
            f"The study was planned with {', '.join(changes)}: what was chosen after the runs "
            "explores, and takes fresh seeds to be shown."
        )
        return Terms(None, limit, max(n_pairs, self.n_recipes_seen), [note])

    def notes(self) -> list[str]:
        """Return what its verdicts do not promise, for all who read them."""
        notes = []
        if self.n_seen:
            margin = "" if self.margin is None else " No row is called the same within it."
            notes.append(
                f"{self.n_seen} runs of these rows and seeds were there before the plan was "
                "written: who wrote it may have looked at them, so all looks count, and p is "
                f"corrected for all recipes that have runs of these seeds ({self.n_recipes_seen}). "
                f"Metric and margin, too, were named after them.{margin} Fresh seeds "
                "(--first-seed) would need fewer runs."
            )
        elif self.n_baseline_seen and self.first_seed:
            notes.append(
                f"{self.n_baseline_seen} runs of the baseline were there before the plan was "
                f"written: seeds from {self.first_seed} on must not have been chosen by them."
            )
        if self.number > 1:
            notes.append(
                f"Study {self.number} of this question (the same baseline, a row in common): at "
                f"5 % each, {100 * (1 - (1 - ALPHA) ** self.number):.0f} % in all. For a series, "
                "'cifarlab judge' keeps a book that spreads 5 % over all claims."
            )
        return notes


class SeenRuns(NamedTuple):
    """What was there before a plan: runs of its rows and baseline, recipes with such runs."""

    n_rows: int = 0
    n_baseline: int = 0
    n_recipes: int = 0


def make_plan(
    study: Study, recipes: Mapping[str, Recipe], seen_runs: SeenRuns, n_studies: int = 0
) -> StudyPlan:
    """Return the plan of a study.

    Args:
        study: the study
        recipes: the rows' recipes, as they are trained
        seen_runs: the runs that are there already
        n_studies: how many have asked the same before
    """
    n = study.max_seeds
    looks = Plan.up_to(n) if study.until == "decided" else Plan.once(n)
    return StudyPlan(
        until=study.until,
        first_seed=study.first_seed,
        n_seeds=n,
        margin=study.margin,
        metric=study.metric.name,
        baseline=study.baseline_name,
        rows={row: fingerprint_row(recipe) for row, recipe in recipes.items()},
        looks=[
            StoredStage(**s._asdict()) for s in (Plan.open() if seen_runs.n_rows else looks).stages
        ],
        n_seen=seen_runs.n_rows,
        n_baseline_seen=seen_runs.n_baseline,
        n_recipes_seen=seen_runs.n_recipes,
        number=1 + n_studies,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def require_same_plan(
    old_plan: StudyPlan, plan: StudyPlan, folder: Path, others: Sequence[StudyPlan] = ()
) -> None:
    """Refuse another plan than the one that a study with results has.

    Args:
        old_plan: the plan that it has
        plan: what it would have now
        folder: the study's
        others: the plans of the studies that ask the same, whose seeds are not fresh either

    Raises:
        UserError: something that decides differs
    """
    reason, hint = _find_change(old_plan, plan)
    if reason:
        next_seed = max(p.first_seed + p.n_seeds for p in (old_plan, *others))
        what = f"{folder} has results and was planned otherwise: {reason}"
        raise UserError(what, hint.format(next=next_seed))


def _find_change(old_plan: StudyPlan, plan: StudyPlan) -> tuple[str, str]:
    """Return the first thing that differs, and what to do; empty where nothing does."""
    for names, words in (
        (plan.rows.keys() - old_plan.rows.keys(), "without the row{s} {names}"),
        (old_plan.rows.keys() - plan.rows.keys(), "with the row{s} {names}, too"),
        (
            {row for row, key in plan.rows.items() if old_plan.rows.get(row, key) != key},
            "with another recipe in the row{s} {names}",
        ),
    ):
        if names:
            plural = "s" if len(names) > 1 else ""
            return words.format(s=plural, names=", ".join(sorted(names))), _FRESH
    for key in ("until", "first_seed", "n_seeds", "margin", "metric", "baseline"):
        if (old := getattr(old_plan, key)) != (new := getattr(plan, key)):
            # a row alone is never decided
            has_looks = key in ("until", "first_seed", "n_seeds") and len(plan.rows) > 1
            name = "the number of seeds per row" if key == "n_seeds" else key
            words = f"{name} was {_or_none(old)}, now {_or_none(new)}"
            return words, _SEEDS if has_looks else _FRESH
    return "", ""


def _or_none(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
