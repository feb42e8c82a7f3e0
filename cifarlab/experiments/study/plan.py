"""The plan of a study: what is decided before its first run, so that looking costs no validity.

It stands in study.json from then on. Other rows, seeds, margins or metrics once results are there
are refused, since they might have been chosen by what was seen. Where pairs of runs were there
before the plan, nobody knows when they were looked at: the plan then takes all looks for possible.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from cifarlab.experiments.study.definition import MAX_SEEDS, Study
from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.schemas import StoredModel
from cifarlab.stats.paired import ALPHA
from cifarlab.stats.sequential import Plan, PlanStage
from cifarlab.system.errors import UserError

_LOOKED = "take fresh seeds (--first-seed {next}), or give the study another name"
_SEEDS = (
    "looking again with more seeds calls equal recipes different too often; take fresh seeds "
    "(--first-seed {next}), or begin with --until decided --most N"
)
_ROWS = (
    "p is corrected for the rows of the plan; give a study of other rows another name: finished "
    "runs are taken over"
)


class StoredStage(StoredModel):
    """Looks after each number of pairs from ``first`` to ``last``; see stats/sequential.py."""

    first: int = Field(ge=1, le=MAX_SEEDS)
    last: int = Field(ge=1, le=MAX_SEEDS)
    part: float = Field(gt=0, le=1)


class StudyPlan(StoredModel):
    """What a study decides by; ``rows`` are the fingerprints of the rows' recipes with seed 0.

    ``margin`` is as the study has it, in points where the metric is in per cent. ``n_seen`` is the
    number of pairs of runs that were there before the plan, ``time`` when it was written.
    """

    until: str
    first_seed: int
    n_seeds: int
    margin: float | None = None
    metric: str
    baseline: str
    level: float = ALPHA
    rows: dict[str, str]
    looks: list[StoredStage] = Field(min_length=1)
    n_seen: int = 0
    time: str

    @property
    def plan(self) -> Plan:
        """Return the looks as the statistics take them."""
        return Plan(tuple(PlanStage(look.first, look.last, look.part) for look in self.looks))

    def margin_of(self, metric: MetricFacts) -> float | None:
        """Return the margin in a metric's own unit, a fraction where that is in per cent.

        It is None for another metric than the study's.
        """
        if self.margin is None or metric.name != self.metric:
            return None
        return self.margin / metric.factor


def make_plan(study: Study, recipes: Mapping[str, Recipe], n_seen: int) -> StudyPlan:
    """Return the plan of a study.

    Args:
        study: the study
        recipes: the rows' recipes, as they are trained
        n_seen: the number of pairs of runs that are there already
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
        rows={row: fingerprint(r.model_copy(update={"seed": 0})) for row, r in recipes.items()},
        looks=[StoredStage(**s._asdict()) for s in (Plan.open() if n_seen else looks).stages],
        n_seen=n_seen,
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def require_same_plan(old_plan: StudyPlan, plan: StudyPlan, folder: Path) -> None:
    """Refuse another plan than the one that a study with results has.

    Args:
        old_plan: the plan that it has
        plan: what it would have now
        folder: the study's

    Raises:
        UserError: something that decides differs
    """
    reason, hint = _find_change(old_plan, plan)
    if reason:
        next_seed = old_plan.first_seed + old_plan.n_seeds
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
            return words.format(s=plural, names=_list(names)), _ROWS
    for key, words in (
        ("until", "until"),
        ("first_seed", "the first seed"),
        ("n_seeds", "the number of seeds per row"),
    ):
        if (old := getattr(old_plan, key)) != (new := getattr(plan, key)):
            return f"{words} was {old}, now {new}", _SEEDS
    for key in ("margin", "metric", "baseline"):
        if (old := getattr(old_plan, key)) != (new := getattr(plan, key)):
            return f"the {key} was {_or_none(old)}, now {_or_none(new)}", _LOOKED
    return "", ""


def _list(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _or_none(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
