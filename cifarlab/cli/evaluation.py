"""Commands that look at a run: evaluate, audit, predict, explain."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cifarlab.cli.app import RunArgument, SettingsCommand, app, command_line
from cifarlab.cli.following import after_audit, after_predict, say_next
from cifarlab.system.errors import UserError


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
    from cifarlab.cli.printing import print_examination, print_measured
    from cifarlab.evaluation.full_evaluation import examine
    from cifarlab.evaluation.run_evaluation import evaluate_run
    from cifarlab.runs.folder import RunFolder
    from cifarlab.system.terminal import console
    from cifarlab.training.display import Display

    _require_everything(everything, views, outliers, images)
    folder = RunFolder(run)
    with Display() as display:
        options: dict[str, Any] = {
            "command": command_line(),
            "progress": display.prepare,
            "tell": console.print,
        }
        if everything:
            evaluation = examine(folder, split, groups, outliers, images, **options)
        else:
            measured, data = evaluate_run(folder, split, views, groups, **options)
            evaluation = {"measured": measured, "data": data}
    print_measured(split, evaluation["measured"], evaluation["data"])
    if everything:
        print_examination(evaluation)
    say_next("report" if everything else "explain", run)


def _require_everything(
    everything: bool, views: int | None, outliers: str | None, images: int | None
) -> None:
    if everything and views is not None:
        raise UserError("--everything compares all views", "leave out --views")
    if not everything and (outliers is not None or images is not None):
        raise UserError("--outliers and --images belong to --everything", "add it")


@app.command(cls=SettingsCommand)
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
        bool, typer.Option("--test", help="look at the test split, too; of a run once it finished")
    ] = False,
    csv: Annotated[
        bool, typer.Option("--csv", help="also tables: all judged labels, all pairs, with paths")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="a folder; default: the run's, or under audits/")
    ] = None,
) -> None:
    """Look for images that are there twice and labels that are wrong in the training data."""
    from cifarlab.audit.run_audit import audit as run_audit
    from cifarlab.cli.printing import print_audit
    from cifarlab.runs.folder import RunFolder
    from cifarlab.system.terminal import console
    from cifarlab.training.display import Display

    with Display() as display:
        audit_folder = run_audit(
            name,
            settings or [],
            folds=folds,
            test=test,
            csv=csv,
            out=out,
            hooks=[display],
            command=command_line(),
            progress=display.prepare,
            tell=console.print,
        )
    print_audit(audit_folder.findings() or {})
    console.print(f"audit: {audit_folder.path}", soft_wrap=True)
    say_next(*after_audit(name, settings or [], RunFolder(name).exists, out))


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
    from cifarlab.inference.formats import require_form, written
    from cifarlab.inference.run_predictor import predict_paths
    from cifarlab.runs.folder import RunFolder
    from cifarlab.system.files import write_text

    require_form(form, sample)
    text = written(predict_paths(RunFolder(run), paths, fit), form, sample)
    if out:
        write_text(out, text)
    else:
        typer.echo(text, nl=False)
    say_next(*after_predict(run, paths, fit), err=True)


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
    from cifarlab.explain.explain_run import explain_run
    from cifarlab.runs.folder import RunFolder
    from cifarlab.system.terminal import console, print_table
    from cifarlab.training.display import Display

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
    say_next(*(("dashboard", run.parent) if images or out else ("report", run)))
