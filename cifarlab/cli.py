"""The command line: parse, call, print. Everything slow is imported where it is used."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cifarlab.errors import CifarlabError, Interrupted, MissingExtraError, UserError

if TYPE_CHECKING:
    from cifarlab.study import Comparison

app = typer.Typer(
    help="Which recipe is better, by how much, and is that real?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
recipes_app = typer.Typer(help="What can be trained, and every setting of it.")
app.add_typer(recipes_app, name="recipes")

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
) -> None:
    """Train a recipe, evaluate it and write its report."""
    from cifarlab.terminal import Display, console
    from cifarlab.train import train as run_training
    from cifarlab.train.launch import launch

    job = launch(
        recipe,
        settings or [],
        data=data,
        run=run,
        resume=resume,
        extend=extend,
        schedule=schedule,
    )
    with Display() as display:
        run_training(
            job.recipe,
            job.folder,
            resume=job.resume,
            hooks=[display],
            command=_command(),
            progress=display.prepare,
        )
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
def check() -> None:
    """Machine, precision, libraries, data: what will be used."""
    from cifarlab.machine import findings
    from cifarlab.terminal import print_table

    print_table(("what", "found"), findings())


def _command() -> str:
    return shlex.join(["cifarlab", *sys.argv[1:]])


def main() -> None:
    """Run the command line; an error of ours is two lines on standard error and an exit code."""
    try:
        app()
    except CifarlabError as error:
        kinds = {UserError: "error", Interrupted: "stopped"}
        kind = next((word for type_, word in kinds.items() if isinstance(error, type_)), "failed")
        typer.echo(f"{kind}: {error.what}\n  {error.hint}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
