"""The judge and the record book in Python."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarlab.api.runs import find_recipe
from cifarlab.config.duration import WallTime
from cifarlab.config.plugins import plugin_errors, plugin_session
from cifarlab.experiments.engine import Log
from cifarlab.experiments.judge.checking import check_record
from cifarlab.experiments.judge.engine import Judgement, run_judge
from cifarlab.experiments.judge.table import (
    BookPage,
    book_table,
    describe,
    judgement_json,
    lap_table,
    read_book,
)
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder import RUNS

if TYPE_CHECKING:
    import pandas as pd


class JudgementView:
    """What came of a claim or a check: ``verdict``, ``reason``, ``frame`` with each seed's runs."""

    def __init__(self, judgement: Judgement) -> None:
        self.judgement = judgement
        self.name, self.path = judgement.race.name, judgement.path
        self.verdict, self.reason = judgement.verdict.verdict, judgement.verdict.reason

    @property
    def is_accepted(self) -> bool:
        """Return whether the claim was accepted, or the record's numbers came back."""
        return self.verdict == "accepted"

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each seed, as the command line prints it."""
        import pandas as pd

        headers, rows = lap_table(self.judgement)
        return pd.DataFrame(rows, columns=list(headers)).set_index("seed")

    @property
    def json(self) -> dict[str, Any]:
        """Return everything as plain values, as ``cifarlab judge --json`` prints it."""
        return judgement_json(self.judgement)

    def __repr__(self) -> str:
        n = len(self.judgement.verdict.evidence.laps)
        return f"<JudgementView {self.name}: {self.verdict}, {self.reason}; {n} seeds>"

    def _repr_html_(self) -> str:
        lines = "".join(f"<p>{escape(line)}</p>" for line in describe(self.judgement))
        return f"{self.frame.to_html()}{lines}"


class RecordTable:
    """The record book of a folder of runs, and the records that ship."""

    def __init__(self, page: BookPage, runs: Path) -> None:
        self.page, self._runs = page, runs

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each claim, check and shipped record."""
        import pandas as pd

        headers, rows = book_table(self.page)
        return pd.DataFrame(rows, columns=list(headers)).set_index("name")

    @plugin_errors()
    def check(self, name: str, resume: bool = False) -> JudgementView:
        """Run a record again with new seeds; it is accepted where its numbers come back.

        Args:
            name: of a claim or a shipped record
            resume: go on with the last check; of one that is decided, return the verdict

        Raises:
            UserError: there is no such record, it has no two pairs of runs, or its data are others
            RunFolderError: a check was begun and ``resume`` is false
        """
        command = "cifarlab.records().check"
        return JudgementView(check_record(name, resume=resume, runs=self._runs, command=command))

    def __repr__(self) -> str:
        states = [entry.state for entry in self.page.entries]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        return f"<RecordTable {self._runs}: {counts or 'no claims'}>"

    def _repr_html_(self) -> str:
        return str(self.frame.to_html())


def judge(
    candidate: Recipe | str,
    against: Recipe | str,
    changes: Mapping[str, Any] | None = None,
    *,
    goal: str = "accuracy",
    margin: float = 0.2,
    most: int = 10,
    budget: WallTime | str | None = None,
    resume: bool = False,
    scale: float = 1.0,
    data: str | None = None,
    runs: Path | str = RUNS,
    log: Log = print,
    plugins: Sequence[str] = (),
    trust_plugins: bool = False,
) -> JudgementView:
    """Race a candidate against an incumbent until the claim that it is better is decided.

    Args:
        candidate: a recipe, its name or YAML file
        against: the incumbent: a recipe, its name or YAML file, or an accepted claim
        changes: settings of the candidate by dotted path, such as ``{"optimizer.lr": 0.05}``
        goal: ``accuracy``, or ``time-to-accuracy``: faster, and not worse by more than the margin
        margin: in points of accuracy
        most: pairs of runs at most
        budget: time for all of it, such as "2 h"
        resume: go on with the last race for this claim; of one that is decided, return the verdict
        scale: fraction of the training images and epochs of both, in (0, 1]
        data: ``data.source`` of both; None for the recipes' own
        runs: folder of the runs and the record book
        log: receives lines about the progress
        plugins: files with kinds of your own; naming them here approves them
        trust_plugins: approve the plug-ins that the recipes bring

    Raises:
        UserError: there is no such recipe, an option is not valid, or the two can't be judged
        RunFolderError: a race for this claim was begun and ``resume`` is false
        PluginError: a plug-in is missing, not approved or fails
    """
    recipe = find_recipe(candidate, changes, plugins, trust_plugins)
    with plugin_session(plugins, trust_plugins) as files:
        judgement = run_judge(
            recipe,
            against,
            plugins=files,
            goal=goal,
            margin=margin,
            most=most,
            budget=budget,
            resume=resume,
            scale=scale,
            data=data,
            runs=Path(runs),
            log=log,
            command="cifarlab.judge",
        )
    return JudgementView(judgement)


def records(name: str | None = None, runs: Path | str = RUNS) -> RecordTable:
    """Return the record book of a folder of runs, or what it says of one record.

    Raises:
        UserError: there is no record of this name
        RunFolderError: the book is damaged
    """
    return RecordTable(read_book(name, Path(runs)), Path(runs))
