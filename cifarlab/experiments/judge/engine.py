"""Judge a candidate: note the claim, race it against the incumbent, note the verdict."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

from cifarlab.config.duration import WallTime
from cifarlab.experiments.engine import Log, run_experiment
from cifarlab.experiments.judge.book import RecordBook, now
from cifarlab.experiments.judge.claims import (
    CANDIDATE,
    EXIT_CODES,
    INCUMBENT,
    Check,
    Claim,
    Decision,
    Evidence,
    Goal,
    VerdictEvent,
)
from cifarlab.experiments.judge.contestants import find_incumbent, match_recipes
from cifarlab.experiments.judge.race import Decide, Race
from cifarlab.experiments.judge.rules import decide, summarize_race
from cifarlab.experiments.study.scale import scale_recipe
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.collection import Collection
from cifarlab.run_folder.naming import RUNS
from cifarlab.run_folder.schemas import Count, StoredModel
from cifarlab.stats.sequential import FIRST_LOOK, MAX_LOOK
from cifarlab.system.errors import UserError
from cifarlab.system.threads import available_threads, hold_threads

# what a race comes to, and whether it can't go on
Conclude = Callable[[Race], tuple[Decision, bool]]


class RaceFile(StoredModel):
    """The content of race.json."""

    name: str = ""
    threads: Count = 1


class RaceFolder(Collection):
    """The folder of a race: race.json, and a run folder for each side and seed."""

    what = "race"
    schema = RaceFile


class Judgement(NamedTuple):
    """A claim or a check with its verdict; ``path`` is the folder of the race."""

    race: Claim | Check
    verdict: VerdictEvent
    path: Path

    @property
    def exit_code(self) -> int:
        """Return the exit code of the command: 0 accepted, 3 rejected, 4 undecided."""
        return EXIT_CODES[self.verdict.verdict]


def run_judge(
    candidate: Recipe | str,
    against: Recipe | str,
    *,
    goal: str = "accuracy",
    margin: float = 0.2,
    most: int = 10,
    budget: WallTime | str | None = None,
    resume: bool = False,
    scale: float = 1.0,
    data: str | None = None,
    runs: Path = RUNS,
    log: Log = print,
    command: str = "cifarlab.judge",
) -> Judgement:
    """Race a candidate against an incumbent until the claim that it is better is decided.

    Args:
        candidate: a recipe, its name or YAML file
        against: the incumbent: a recipe, its name or YAML file, or an accepted claim
        goal: ``accuracy``, or ``time-to-accuracy``: faster, and not worse by more than the margin
        margin: in points of accuracy
        most: pairs of runs at most
        budget: time for all of it, such as "2 h"
        resume: go on with the last race for this claim; of one that is decided, return the verdict
        scale: fraction of the training images and epochs of both, in (0, 1]
        data: ``data.source`` of both; None for the recipes' own
        runs: folder of the runs and the record book
        log: receives lines about the progress
        command: the command that the user typed

    Raises:
        UserError: there is no such recipe, an option is not valid, or the two can't be judged
        RunFolderError: a race for this claim was begun and ``resume`` is false
        StorageError: the disk can't be written to
        Interrupted: a signal arrived; the claim stays open
    """
    time = _require_valid(goal, margin, most, budget)
    recipe = find(candidate) if isinstance(candidate, str) else candidate
    pair = [_prepare(each, scale, data) for each in (recipe, find_incumbent(against, runs))]
    contestants, book = match_recipes(pair[0], pair[1], goal), RecordBook(runs)
    claim = book.begin(
        Claim,
        recipe.name.replace("/", "-"),
        {"goal": goal, "margin": float(margin), "most": most, **contestants.fingerprints},
        {"command": command, **contestants.names},
        resume=resume,
    )
    log(f"{claim.name}: {claim.candidate} against {claim.incumbent}, at p <= {claim.level:.2g}")
    return run_race(
        claim,
        contestants.recipes,
        partial(decide, claim=claim),
        partial(_conclude, budget=time),
        book=book,
        budget=time,
        log=log,
        command=command,
        times_count=goal == "time-to-accuracy",
    )


def _require_valid(
    goal: str, margin: float, most: int, budget: WallTime | str | None
) -> WallTime | None:
    """Return the budget as a time. Raises UserError for an option that is not valid."""
    if goal not in get_args(Goal):
        hint = f"take {' or '.join(get_args(Goal))}"
        raise UserError(f"--goal {goal}: there is no such goal", hint)
    if not 0 < margin < 100:
        raise UserError(f"--margin {margin:g}: that is no margin", "take points above 0, e.g. 0.2")
    if not FIRST_LOOK <= most <= MAX_LOOK:
        hint = f"take {FIRST_LOOK} to {MAX_LOOK} pairs of runs"
        raise UserError(f"--most {most}: no verdict can come of that", hint)
    try:
        return WallTime.parse(budget) if isinstance(budget, str) else budget
    except ValueError as error:
        raise UserError(f"--budget: {error}", "write e.g. --budget '2 h'") from error


def _prepare(recipe: Recipe, scale: float, data: str | None) -> Recipe:
    recipe = recipe if data is None else change(recipe, {"data.source": data})
    return scale_recipe(recipe, scale)


def run_race(
    event: Claim | Check,
    sides: Mapping[str, Recipe],
    decide: Decide,
    conclude: Conclude,
    *,
    book: RecordBook,
    budget: WallTime | None,
    log: Log,
    command: str,
    times_count: bool,
) -> Judgement:
    """Train the runs of a race that is in the book, and add the verdict, unless it has one.

    Args:
        event: the claim or check
        sides: the recipes that race
        decide: returns the verdict on the seeds that are complete
        conclude: says what the race comes to when it ends
        book: the record book
        budget: time for all runs; None: as long as it takes
        log: receives lines about the progress
        command: the command that the user typed
        times_count: whether seconds are compared

    Raises:
        RunFolderError: another process holds the race
        Interrupted: a signal arrived
    """
    folder = RaceFolder(book.runs / event.folder)
    entry = book.entries()[event.number - 1]
    if entry.verdict and not entry.is_open:
        return Judgement(event, entry.verdict, folder.path)
    seeds = range(event.first_seed, event.first_seed + event.most)
    with folder.lock():
        # of all runs of the race, since seconds depend on it, and so do last bits
        threads = folder.content().get("threads") or available_threads().number
        folder.write({"name": event.name, "threads": threads})
        options = {"times_count": times_count}
        race = Race(sides, seeds, decide, folder.path, command, log, **options)
        if budget is None or budget.seconds > race.seconds:
            left = budget and WallTime(Decimal(budget.seconds - race.seconds), "s")
            with hold_threads(threads):
                run_experiment(race, command, None, left)
        decision, is_closed = conclude(race)
        verdict = VerdictEvent(
            number=event.number,
            name=event.name,
            time=now(),
            verdict=decision.verdict,
            reason=decision.reason,
            is_closed=is_closed,
            evidence=_evidence(race, event, decision),
        )
        book.close(verdict)
    return Judgement(event, verdict, folder.path)


def _evidence(race: Race, event: Claim | Check, decision: Decision) -> Evidence:
    environment = race.environment()
    is_pair = INCUMBENT in (race.laps[0].scores if race.laps else ())
    evidence = summarize_race(race.laps, event.most) if is_pair else Evidence(laps=race.laps)
    evidence.p, evidence.split = decision.p, race.split
    evidence.data, evidence.environment = environment.pop("data", ""), environment
    return evidence


def _conclude(race: Race, budget: WallTime | None) -> tuple[Decision, bool]:
    """Return the verdict of a race that has ended, and whether it can't go on."""
    decision, n = race.decision, len(race.laps)
    if race.failure:
        side, failure = race.failure
        reason = f"the {side}'s run failed: {failure.what}"
        is_candidate = side == CANDIDATE and failure.kind == "DivergenceError"
        verdict = "rejected" if is_candidate else "undecided"
        return decision.model_copy(update={"verdict": verdict, "reason": reason}), is_candidate
    if race.is_over:
        reason = decision.reason or f"open after {n} pairs, the most that was planned"
        return decision.model_copy(update={"reason": reason}), True
    return decision.model_copy(update={"reason": f"{budget} are spent, after {n} pairs"}), False
