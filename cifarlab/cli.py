"""The command line: parse, call, print. Everything slow is imported where it is used."""

import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarlab.errors import (
    CifarlabError,
    Interrupted,
    MissingExtraError,
    OutOfMemoryError,
    ProcessLostError,
    UserError,
)

if TYPE_CHECKING:
    from cifarlab.search import Searched
    from cifarlab.study import Comparison

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer(help="What can be trained, and every setting of it.")
app.add_typer(recipes_app, name="recipes")


@app.callback()
def one_process(context: typer.Context) -> None:
    """Which recipe is better, by how much, and is that real?"""
    if context.invoked_subcommand != "train" and _rank() is not None:
        raise UserError(
            f"torchrun started 'cifarlab {context.invoked_subcommand}' several times at once",
            "under torchrun goes 'train' alone: start this without it",
        )


RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]


@recipes_app.callback(invoke_without_command=True)
def recipes(context: typer.Context) -> None:
    """What can be trained, and every setting of it (alone: the list)."""
    if context.invoked_subcommand is None:
        recipes_list()


@recipes_app.command("list")
def recipes_list() -> None:
    """All shipped recipes."""
    from cifarlab.recipes import shipped
    from cifarlab.terminal import print_table

    rows = [(name, (make.__doc__ or "").partition("\n")[0]) for name, make in shipped().items()]
    print_table(("recipe", "what it is"), rows)


@recipes_app.command("show")
def recipes_show(name: Annotated[str, typer.Argument(help="a name or a YAML file")]) -> None:
    """A recipe's source, its parameter count and its complete YAML."""
    from cifarlab.models import parameter_count
    from cifarlab.recipe import to_yaml
    from cifarlab.recipes import described, find, usual_shape

    recipe = find(name)
    (height, width, channels), classes = usual_shape(recipe)
    count = parameter_count(recipe.model, (height, width, channels), classes)
    typer.echo(described(name), nl=False)
    typer.echo(
        f"# {count:,} parameters at {height} x {width} pixels, {channels} channels, "
        f"{classes} classes"
    )
    typer.echo(to_yaml(recipe), nl=False)


@recipes_app.command("keys")
def recipes_keys() -> None:
    """Every setting with its meaning, default and allowed values."""
    from cifarlab.recipe import keys
    from cifarlab.terminal import print_table

    rows = [
        (
            f"{key.path} ({key.kind})" if key.kind else key.path,
            key.default,
            key.allowed,
            key.meaning,
        )
        for key in keys()
    ]
    print_table(("key", "default", "allowed", "meaning"), rows)


@recipes_app.command("lint")
def recipes_lint(
    name: Annotated[str, typer.Argument(help="a name or a YAML file")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings to change")
    ] = None,
) -> None:
    """What in a recipe is allowed but seldom meant: what, why it matters, what to do."""
    from cifarlab.recipe import overridden
    from cifarlab.recipe.lint import lint
    from cifarlab.recipes import find, usual_images

    recipe = overridden(find(name), settings or [])
    findings = lint(recipe, usual_images(recipe))
    for finding in findings:
        typer.echo(f"{finding.what}\n  why: {finding.why}\n  do: {finding.do}")
    count = f"{len(findings)} finding{'' if len(findings) == 1 else 's'}"
    typer.echo(f"{recipe.name}: {count}")


@recipes_app.command("draw")
def recipes_draw(
    name: Annotated[str, typer.Argument(help="a name or a YAML file")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings to change")
    ] = None,
    out: Annotated[Path, typer.Option(help="a folder for the figure")] = Path("figures"),
) -> None:
    """Draw a recipe's network: blocks, shapes, parameters, multiply-adds."""
    from cifarlab.explain import draw_recipe
    from cifarlab.recipe import overridden
    from cifarlab.recipes import find
    from cifarlab.terminal import console

    drawn = draw_recipe(overridden(find(name), settings or []), out)
    console.print(f"drawn: {drawn}", soft_wrap=True)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="a name or a YAML file")],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="settings to change")
    ] = None,
    data: Annotated[str | None, typer.Option(help="short for data.source=...")] = None,
    run: Annotated[Path | None, typer.Option(help="the run folder; default: under runs/")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an unfinished run")] = False,
    extend: Annotated[
        str | None, typer.Option(help="train a finished run longer, e.g. '10 epochs'")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="with --extend: the rate meanwhile: hold, restart, stretch")
    ] = None,
    record: Annotated[
        bool, typer.Option(help="keep histograms of weights and activations of each epoch")
    ] = True,
) -> None:
    """Train a recipe, evaluate it and write its report."""
    from cifarlab.processes import joined
    from cifarlab.terminal import Display, console
    from cifarlab.train import Recorder
    from cifarlab.train import train as run_training
    from cifarlab.train.launch import launch

    with joined() as processes:
        job = processes.by_first(
            lambda: launch(
                recipe,
                settings or [],
                data=data,
                run=run,
                resume=resume,
                extend=extend,
                schedule=schedule,
            )
        )
        with Display() if processes.first else nullcontext() as display:
            recorders = [Recorder()] if record and processes.first else []
            run_training(
                job.recipe,
                job.folder,
                resume=job.resume,
                hooks=[display, *recorders] if display else [],
                command=_command(),
                progress=display.prepare if display else None,
                processes=processes,
            )
    if not processes.first:
        return
    console.print(f"run: {job.folder.path}")
    try:
        report([job.folder.path])
    except MissingExtraError as error:  # the run is complete without its report
        console.print(f"no report: {error.hint}")


@app.command()
def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="val or test")] = "val",
    views: Annotated[int | None, typer.Option(help="1, 2, 6 or 10 averaged views")] = None,
    groups: Annotated[
        Path | None, typer.Option(help="YAML of groups of classes: 'group: [class, class]'")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--everything", help="also views, corruptions, strangers; kept in the folder"),
    ] = False,
    outliers: Annotated[
        str | None, typer.Option(help="with --everything: a source with other classes")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="with --everything: how many images to corrupt")
    ] = None,
) -> None:
    """Measure a run's network anew; opening the test split is recorded in its provenance."""
    from cifarlab.evaluate import evaluate_run, examine
    from cifarlab.run import RunFolder
    from cifarlab.terminal import Display, print_examination, print_measured

    _require_everything(everything, views, outliers, images)
    folder, told = RunFolder(run), {"command": _command()}
    with Display() as display:
        if everything:
            found = examine(
                folder, split, groups, outliers, images, progress=display.prepare, **told
            )
        else:
            measured, data = evaluate_run(
                folder, split, views, groups, progress=display.prepare, **told
            )
            found = {"measured": measured, "data": data}
    print_measured(split, found["measured"], found["data"])
    if everything:
        print_examination(found)


def _require_everything(
    everything: bool, views: int | None, outliers: str | None, images: int | None
) -> None:
    if everything and views is not None:
        raise UserError("--everything compares all views", "leave out --views")
    if not everything and (outliers is not None or images is not None):
        raise UserError("--outliers and --images belong to --everything", "add it")


@app.command()
def audit(
    name: Annotated[
        str, typer.Argument(metavar="RUN_OR_RECIPE", help="a run folder, a recipe's name or file")
    ],
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="a recipe's changes")
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="networks that judge the labels; 0: near-duplicates alone")
    ] = 3,
    test: Annotated[
        bool, typer.Option("--test", help="look at a finished run's test split, too; recorded")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="a folder; default: the run's, or under audits/")
    ] = None,
) -> None:
    """Look for images that are there twice and labels that are wrong in the training data."""
    from cifarlab.audit import audit as run_audit
    from cifarlab.terminal import Display, console, print_audit

    with Display() as display:
        place = run_audit(
            name,
            settings or [],
            folds=folds,
            test=test,
            out=out,
            hooks=[display],
            command=_command(),
            progress=display.prepare,
        )
    print_audit(place.findings() or {})
    console.print(f"audit: {place.path}", soft_wrap=True)


@app.command()
def predict(
    run: RunArgument,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="images, folders, archives, a competition's pickle"),
    ],
    form: Annotated[
        str, typer.Option("--format", help="table, csv, json or kaggle (ID,Labels)")
    ] = "table",
    sample: Annotated[
        Path | None,
        typer.Option(help="a sample whose ids and labels must fit"),
    ] = None,
    fit: Annotated[
        str | None, typer.Option(help="images of another size: crop, pad or stretch")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="a file; default: standard output")] = None,
) -> None:
    """Predict images, resized and normalised as in training, with calibrated confidence."""
    from cifarlab.run import RunFolder
    from cifarlab.ship import predict_paths, written
    from cifarlab.storage import write_text

    text = written(predict_paths(RunFolder(run), paths, fit), form, sample)
    if out:
        write_text(out, text)
    else:
        typer.echo(text, nl=False)


@app.command()
def explain(
    run: RunArgument,
    images: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[IMAGE]...", help="image files; default: held-out images"),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="all, or names with commas; default: the last with a map")
    ] = None,
    target: Annotated[
        str, typer.Option(help="class that maps are for: predicted, true, or its name")
    ] = "predicted",
    fit: Annotated[
        str | None, typer.Option(help="images of another size: crop, pad or stretch")
    ] = None,
    randomise: Annotated[
        bool, typer.Option("--randomise", help="check that the maps depend on the weights")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="default: RUN/explained, for reports")] = None,
) -> None:
    """Show where a network looks, what its layers see, and what it is made of."""
    from cifarlab.explain import explain_run
    from cifarlab.run import RunFolder
    from cifarlab.terminal import Display, console, print_table

    with Display() as display:
        explained = explain_run(
            RunFolder(run),
            images or [],
            layers=layers,
            target=target,
            fit=fit,
            randomise=randomise,
            out=out,
            progress=display.prepare,
        )
    print_table(("image", "true", "predicted", "probability", "map for"), explained.rows)
    for note in explained.notes:
        console.print(note)
    console.print(f"figures: {explained.folder} ({', '.join(explained.slugs)})", soft_wrap=True)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="run folders")],
    out: Annotated[Path | None, typer.Option(help="the page; figures go beside it")] = None,
) -> None:
    """One HTML file with everything about one or several runs."""
    from cifarlab.report import write_report
    from cifarlab.terminal import console

    console.print(f"report: {write_report(runs, out)}", soft_wrap=True)


@app.command()
def studies() -> None:
    """All shipped studies: what they ask, and how many runs that takes."""
    from cifarlab.study import STUDIES
    from cifarlab.terminal import print_table

    rows = [(s.name, f"{len(s.rows)} x {s.seeds}", s.about) for s in STUDIES.values()]
    print_table(("study", "rows x seeds", "what it asks"), rows)


@app.command()
def study(
    name: Annotated[str, typer.Argument(metavar="NAME", help="a shipped study or a YAML file")],
    seeds: Annotated[int | None, typer.Option(min=1, help="runs per row")] = None,
    scale: Annotated[
        float, typer.Option(help="share of the training images and of the epochs, for a trial")
    ] = 1.0,
    only: Annotated[
        str | None, typer.Option(help="train rows that match, and the baseline: '*dropout*'")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="runs at a time on this machine")] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="go on with unfinished runs")] = False,
    data: Annotated[str | None, typer.Option(help="data.source of all rows")] = None,
) -> None:
    """Train recipes over seeds and say which is better, by how much, and whether that is real."""
    from cifarlab.study import find_study, run_study
    from cifarlab.terminal import console

    studied = run_study(
        find_study(name),
        seeds=seeds,
        scale=scale,
        only=only,
        jobs=jobs,
        resume=resume,
        data=data,
        command=_command(),
        tell=console.print,
    )
    _print_comparison(studied.comparison)
    for problem in studied.problems:
        console.print(problem)
    console.print(f"study: {studied.folder.path}")


@app.command()
def searches() -> None:
    """All shipped searches: what they look for, and how many trials that takes."""
    from cifarlab.search import SEARCHES
    from cifarlab.terminal import print_table

    rows = [(s.name, str(s.trials), str(s.max), s.about) for s in SEARCHES.values()]
    print_table(("search", "trials", "up to", "what it looks for"), rows)


@app.command()
def search(
    name: Annotated[str, typer.Argument(metavar="SEARCH", help="a shipped search or a YAML file")],
    trials: Annotated[int | None, typer.Option(help="how many")] = None,
    longest: Annotated[
        str | None, typer.Option("--max", help="the longest that a trial runs: '30 epochs'")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="trials at a time")] = None,
    cluster: Annotated[str | None, typer.Option(help="a Ray cluster's address, or auto")] = None,
    budget: Annotated[str | None, typer.Option(help="time after which it ends: '2 h'")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with a stopped search")] = False,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="train the finalists anew with so many seeds")
    ] = None,
    scale: Annotated[
        float, typer.Option(help="share of the training images and of the epochs, for a try")
    ] = 1.0,
    data: Annotated[str | None, typer.Option(help="data.source of all trials")] = None,
    sampler: Annotated[str | None, typer.Option(help="random or tpe")] = None,
    scheduler: Annotated[str | None, typer.Option(help="asha or none")] = None,
) -> None:
    """Search a recipe's settings, stop hopeless trials early, and explain what was found."""
    from cifarlab.search import asked_for, find_search, run_search, wall_time
    from cifarlab.terminal import console

    searched = run_search(
        asked_for(find_search(name), trials, longest, sampler, scheduler),
        jobs=jobs,
        cluster=cluster,
        budget=wall_time(budget),
        resume=resume,
        seeds=seeds,
        scale=scale,
        data=data,
        command=_command(),
        tell=console.print,
    )
    _print_search(searched)


def _print_search(searched: "Searched") -> None:
    from cifarlab.search.table import flattery_words, heading, importance_rows, rows, rung_rows
    from cifarlab.terminal import console, print_table

    of = searched.explained
    console.print("\n".join(heading(of)))
    for headers, cells in (rows(of), rung_rows(of), importance_rows(of)):
        if cells:
            print_table(headers, cells)
    if searched.finals:
        _print_comparison(searched.finals.comparison)
        console.print("\n".join(map(flattery_words, searched.finals.flattery)))
    for problem in searched.problems:
        console.print(problem)
    console.print(f"search: {searched.folder.path}")


@app.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_OR_RECIPE...",
            help="run folders, folders of them, or recipes whose finished runs are under runs/",
        ),
    ],
    against: Annotated[str | None, typer.Option(help="the baseline; default: the first")] = None,
    out: Annotated[Path | None, typer.Option(help="a folder for table and figure")] = None,
) -> None:
    """Compare finished runs, grouped by recipe and paired by seed."""
    from cifarlab.study import compare_runs
    from cifarlab.study.folder import write_comparison
    from cifarlab.terminal import console

    comparison = compare_runs(names, against)
    _print_comparison(comparison)
    if out:
        for problem in write_comparison(comparison, out):
            console.print(problem)
        console.print(f"comparison: {out}")


def _print_comparison(comparison: "Comparison") -> None:
    from cifarlab.study.table import footing, heading, rows
    from cifarlab.terminal import console, print_table

    console.print("\n".join(heading(comparison)))
    print_table(*rows(comparison))
    console.print("\n".join(footing(comparison)))


@app.command()
def page(
    runs: Annotated[
        Path, typer.Argument(metavar="[RUNS_DIR]", help="a folder of runs, studies, searches")
    ] = Path("runs"),
    host: Annotated[
        str, typer.Option(help="the address to listen on; beyond this machine: with a password")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one")] = 8642,
    password: Annotated[
        str | None,
        typer.Option(envvar="CIFARLAB_PAGE_PASSWORD", help="what a visitor must give"),
    ] = None,
    show: Annotated[bool, typer.Option("--open/--no-open", help="open a browser")] = True,
) -> None:
    """Show runs, studies and searches in a browser, and try images; Ctrl-C ends it."""
    from cifarlab.page import serve
    from cifarlab.terminal import console

    serve(runs, host=host, port=port, password=password, show=show, tell=console.print)


@app.command()
def check() -> None:
    """Machine, precision, libraries, data: what will be used."""
    from cifarlab.machine import findings
    from cifarlab.terminal import print_table

    print_table(("what", "found"), findings())


def _command() -> str:
    return shlex.join(["cifarlab", *sys.argv[1:]])


def _rank() -> int | None:
    """This process's number among those that torchrun started, counted from 0; None without it."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else None


def main() -> None:
    """Run the command line; an error of ours is two lines on standard error and an exit code."""
    try:
        app()
    except CifarlabError as error:
        # of several processes the first speaks; the others of what it may not live to know
        if _rank() and not isinstance(error, OutOfMemoryError | ProcessLostError):
            sys.exit(error.exit_code)
        kinds = {UserError: "error", Interrupted: "stopped"}
        kind = next((word for type_, word in kinds.items() if isinstance(error, type_)), "failed")
        typer.echo(f"{kind}: {error.what}\n  {error.hint}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
