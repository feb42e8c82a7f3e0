"""Judge a candidate: note the claim, race it against the incumbent, note the verdict."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from pathlib import Path
from typing import NamedTuple, get_args

from cifarlab.config.duration import WallTime, parse_time_option
from cifarlab.config.plugins import Plugin, copy_plugins
from cifarlab.experiments.engine import Log, ThisProcess, resume_command, run_experiment
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
from cifarlab.experiments.judge.contestants import Contestants, find_incumbent, match_recipes
from cifarlab.experiments.judge.race import Decide, Race, RaceFolder
from cifarlab.experiments.judge.rules import decide, summarize_race
from cifarlab.recipes.scale import scale_recipe
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder import RUNS
from cifarlab.stats.sequential import FIRST_LOOK, MAX_LOOK
from cifarlab.system.errors import UserError
from cifarlab.system.threads import available_threads, hold_threads

# what a race comes to, and whether it can't go on
Conclude = Callable[[Race], tuple[Decision, bool]]


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
    candidate: Recipe,
    against: Recipe | str,
    *,
    plugins: Sequence[Plugin] = (),
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
        candidate: what may be better
        against: the incumbent: a recipe, its name or YAML file, or an accepted claim
        plugins: loaded ones, for the incumbent
        goal: ``accuracy``, or ``time-to-accuracy``: faster, and not worse by more than the margin
        margin: in points of accuracy
        most: pairs of runs at most
        budget: time for all of it, such as "2 h"
        resume: go on with the last race for this claim; of one that is decided, return the verdict
        scale: fraction of the training images and epochs; an accepted claim has its own
        data: ``data.source`` of both; None for the recipes' own
        runs: folder of the runs and the record book
        log: receives lines about the progress
        command: the command that the user typed

    Raises:
        UserError: an option is not valid, the two can't be judged, or the claim can't be begun
        Interrupted: a signal arrived; the claim stays open
    """
    time, book = _require_valid(goal, margin, most, budget), RecordBook(runs)
    incumbent = find_incumbent(against, book, plugins, scale)
    contestants = _match((scale_recipe(candidate, scale), incumbent), data, goal)
    claim = book.begin(
        Claim,
        candidate.name.replace("/", "-"),
        {"goal": goal, "margin": float(margin), "most": most, **contestants.fingerprints},
        {"command": command, "recipes": contestants.texts, **contestants.names},
        resume=resume,
        log=log,
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
    return parse_time_option("--budget", budget)


def _match(pair: tuple[Recipe, Recipe], data: str | None, goal: str) -> Contestants:
    changes = {} if data is None else {"data.source": data}
    candidate, incumbent = (change(recipe, changes) for recipe in pair)
    return match_recipes(candidate, incumbent, goal)


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
    if entry.verdict and entry.verdict.is_closed:
        return Judgement(event, entry.verdict, folder.path)
    seeds = range(event.first_seed, event.first_seed + event.most)
    with folder.lock():
        # of all runs of the race, since seconds depend on it, and so do last bits
        threads = folder.content().get("threads") or available_threads().number
        folder.write({**folder.content(), "name": event.name, "threads": threads})
        for recipe in sides.values():
            copy_plugins(recipe.plugins, folder.path)
        race = Race(sides, seeds, decide, folder, command, log, times_count=times_count)
        left = None if budget is None else budget.seconds - race.spent_seconds
        if left is None or left > 0:
            end = inf if left is None else time.monotonic() + left
            with hold_threads(threads), race.timed():
                run_experiment(race, resume_command(command), ThisProcess(), end)
        elif entry.verdict and not race.is_over:
            return Judgement(event, entry.verdict, folder.path)
        decision, is_closed = conclude(race)
        verdict = _verdict(event, decision, is_closed, _evidence(race, event, decision, book.runs))
        book.close(verdict)
    return Judgement(event, verdict, folder.path)


def _verdict(
    event: Claim | Check, decision: Decision, is_closed: bool, evidence: Evidence
) -> VerdictEvent:
    return VerdictEvent(
        number=event.number,
        name=event.name,
        time=now(),
        verdict=decision.verdict,
        reason=decision.reason,
        is_closed=is_closed,
        evidence=evidence,
    )


def _evidence(race: Race, event: Claim | Check, decision: Decision, runs: Path) -> Evidence:
    environment, evidence = race.environment(), Evidence(laps=race.laps)
    if race.laps and INCUMBENT in race.laps[0].scores:
        evidence = summarize_race(race.laps, event.most, times_count=race.times_count)
    evidence.p, evidence.split, evidence.wear = decision.p, race.split, race.describe_wear(runs)
    evidence.data, evidence.environment = environment.pop("data", ""), environment
    return evidence


def _conclude(race: Race, budget: WallTime | None) -> tuple[Decision, bool]:
    """Return the verdict of a race that has ended, and whether it can't go on."""
    decision, n = race.decision, len(race.laps)
    if race.failure:
        side, failure = race.failure
        reason = f"the {side}'s run failed: {failure.what}"
        verdict = "undecided"
        if race.has_diverged and side == CANDIDATE:
            verdict = "rejected"
        elif race.has_diverged:
            reason += "; take an incumbent that trains"
        update = {"verdict": verdict, "reason": reason}
        return decision.model_copy(update=update), race.has_diverged
    if race.is_over:
        reason = decision.reason or f"open after {n} pairs, the most that was planned"
        return decision.model_copy(update={"reason": reason}), True
    pairs = "1 pair" if n == 1 else f"{n} pairs"
    reason = f"the budget of {budget} is spent after {pairs}: give a larger one"
    return decision.model_copy(update={"reason": reason}), False
