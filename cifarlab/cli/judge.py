"""Commands that decide whether a candidate is accepted, and show what was: judge, records."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from cifarlab.cli.app import SettingsCommand, app, command_line, echo, print_json, takes_plugins
from cifarlab.cli.next_command import print_next
from cifarlab.cli.options import Data, Json, Resume, Scale, Settings

if TYPE_CHECKING:
    from cifarlab.experiments.judge.engine import Judgement


@app.command(cls=SettingsCommand)
@takes_plugins
def judge(
    candidate: Annotated[str, Argument(metavar="CANDIDATE", help="a recipe or a YAML file")],
    against: Annotated[
        str, Option(metavar="INCUMBENT", help="a recipe, a YAML file or an accepted claim")
    ],
    settings: Settings = None,
    goal: Annotated[str, Option(help="accuracy, time-to-accuracy")] = "accuracy",
    margin: Annotated[float, Option(help="in points of accuracy")] = 0.2,
    most: Annotated[int, Option(help="pairs of runs at most")] = 10,
    budget: Annotated[str | None, Option(help="time for all runs: '2 h'")] = None,
    resume: Resume = False,
    scale: Scale = 1.0,
    data: Data = None,
    as_json: Json = False,
    plugins: tuple[Any, ...] = (),
) -> None:
    """Race a candidate against an incumbent: is it better, or faster and not worse?

    Exits with 0 where it is accepted, with 3 rejected, with 4 undecided.
    """
    from cifarlab.experiments.judge.engine import run_judge
    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import apply_overrides

    judgement = run_judge(
        apply_overrides(find(candidate, plugins), settings or []),
        against,
        plugins=plugins,
        goal=goal,
        margin=margin,
        most=most,
        budget=budget,
        resume=resume,
        scale=scale,
        data=data,
        log=_log_to_stderr if as_json else echo,
        command=command_line(),
    )
    _show(judgement, as_json)
    print_next("records", judgement.race.name, err=as_json)
    raise Exit(judgement.exit_code)


@app.command()
@takes_plugins
def records(
    name: Annotated[str | None, Argument(metavar="[NAME]", help="one record alone")] = None,
    check: Annotated[
        str | None, Option(metavar="NAME", help="run a record again, with new seeds")
    ] = None,
    resume: Resume = False,
    as_json: Json = False,
) -> None:
    """The record book of runs/: what was claimed, against what, with which evidence.

    With --check it exits with 0 where the numbers come back, with 3 where not, with 4 undecided.
    """
    from cifarlab.experiments.judge.checking import check_record
    from cifarlab.experiments.judge.table import book_json, book_table, read_book
    from cifarlab.system.terminal import print_table

    if check:
        log = _log_to_stderr if as_json else echo
        judgement = check_record(check, resume=resume, log=log, command=command_line())
        _show(judgement, as_json)
        print_next("records", check, err=as_json)
        raise Exit(judgement.exit_code)
    pages = read_book(name)
    if as_json:
        print_json(book_json(pages))
    else:
        print_table(*book_table(pages))
    print_next("records", "--check", name or next(iter(pages.shipped)), err=as_json)


def _show(judgement: "Judgement", as_json: bool) -> None:
    """Print a judgement."""
    from cifarlab.experiments.judge.table import describe, judgement_json, lap_table
    from cifarlab.system.terminal import print_table

    if as_json:
        print_json(judgement_json(judgement))
    else:
        if judgement.verdict.evidence.laps:
            print_table(*lap_table(judgement))
        echo("\n".join(describe(judgement)))


def _log_to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
