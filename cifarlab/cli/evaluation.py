"""Commands that look at a run: evaluate, audit, predict, explain."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from cifarlab.cli.app import (
    FiguresOption,
    PluginOption,
    RunArgument,
    SettingsCommand,
    app,
    command_line,
    formats,
    takes_plugins,
)
from cifarlab.cli.following import after_audit, after_predict, say_next
from cifarlab.system.errors import UserError


def _use_free_cores() -> None:
    """Compute with as many threads as cores are free, as training does, and say so."""
    from cifarlab.system.device import fastest_device
    from cifarlab.system.threads import use_threads

    if fastest_device().type == "cpu" and (note := use_threads(None).note):
        sys.stderr.write(f"{note}\n")


@app.command()
@takes_plugins
def evaluate(
    run: RunArgument,
    split: Annotated[str, typer.Option(help="val or test")] = "val",
    tta_views: Annotated[int | None, typer.Option(help="1, 2, 6 or 10 averaged views")] = None,
    groups: Annotated[
        Path | None, typer.Option(help="YAML of groups of classes: 'group: [class, class]'")
    ] = None,
    full: Annotated[
        bool,
        typer.Option("--full", help="also views, corruptions, OOD images; kept in the folder"),
    ] = False,
    ood: Annotated[
        str | None, typer.Option(help="with --full: a source of out-of-distribution images")
    ] = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="with --full: how many images to corrupt")
    ] = None,
) -> None:
    """Measure a run's network anew; opening the test split is recorded in its provenance."""
    from cifarlab.cli.printing import print_evaluation, print_measured
    from cifarlab.evaluation.run_evaluation import evaluate_fully, evaluate_run
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.system.terminal import console
    from cifarlab.training.display import Display

    _require_full(full, tta_views, ood, images)
    folder = RunFolder(run).require()
    _use_free_cores()
    with Display() as display:
        options: dict[str, Any] = {
            "command": command_line(),
            "progress": display.prepare,
            "log": console.print,
        }
        if full:
            evaluation = evaluate_fully(folder, split, groups, ood, images, **options)
        else:
            measured, data = evaluate_run(folder, split, tta_views, groups, **options)
            evaluation = {"measured": measured, "data": data}
    print_measured(split, evaluation["measured"], evaluation["data"])
    if full:
        print_evaluation(evaluation)
    say_next("report" if full else "explain", run)


def _require_full(full: bool, tta_views: int | None, ood: str | None, images: int | None) -> None:
    if full and tta_views is not None:
        raise UserError("--full compares all views", "leave out --tta-views")
    if not full and (ood is not None or images is not None):
        raise UserError("--ood and --images belong to --full", "add it")


@app.command(cls=SettingsCommand)
@takes_plugins
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
    plugin: PluginOption = None,
) -> None:
    """Look for images that are there twice and labels that are wrong in the training data."""
    from cifarlab.audit.run_audit import audit as run_audit
    from cifarlab.cli.printing import print_audit
    from cifarlab.config.plugins import approve_plugins
    from cifarlab.run_folder.folder import RunFolder
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
            plugins=approve_plugins(plugin or []),
            callbacks=[display],
            command=command_line(),
            progress=display.prepare,
            log=console.print,
        )
    print_audit(audit_folder.findings() or {})
    console.print(f"audit: {audit_folder.path}", soft_wrap=True)
    if csv:
        tables = [
            audit_folder.path / name for name in ("pairs.csv", "labels.csv")[: 2 if folds else 1]
        ]
        console.print(f"tables: {', '.join(map(str, tables))}", soft_wrap=True)
    say_next(*after_audit(name, settings or [], RunFolder(name).exists, out))


@app.command()
@takes_plugins
def predict(
    run: RunArgument,
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="images, folders, archives, a competition's pickle"),
    ],
    output_format: Annotated[
        str, typer.Option("--format", help="table, csv, json or kaggle (ID,Labels)")
    ] = "table",
    sample_submission: Annotated[
        Path | None,
        typer.Option(help="a sample whose ids and labels must fit"),
    ] = None,
    resize_mode: Annotated[
        str | None, typer.Option(help="images of another size: crop, pad or stretch")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="a file; default: standard output")] = None,
) -> None:
    """Predict images, resized and normalised as in training, with calibrated confidence."""
    from cifarlab.inference.formats import format_predictions, require_format
    from cifarlab.inference.run_predictor import predict_paths
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.system.files import write_text

    require_format(output_format, sample_submission)
    folder = RunFolder(run).require()
    _use_free_cores()
    text = format_predictions(
        predict_paths(folder, paths, resize_mode), output_format, sample_submission
    )
    if out:
        write_text(out, text)
    else:
        typer.echo(text, nl=False)
    say_next(*after_predict(run, paths, resize_mode), err=True)


@app.command()
@takes_plugins
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
    resize_mode: Annotated[
        str | None, typer.Option(help="images of another size: crop, pad or stretch")
    ] = None,
    sanity_check: Annotated[
        bool, typer.Option("--sanity-check", help="check that the maps depend on the weights")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="default: RUN/explained, for reports")] = None,
    figures: FiguresOption = "svg",
) -> None:
    """Show where a network looks, what its layers see, and what it is made of."""
    from cifarlab.explain.explain_run import explain_run
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.system.terminal import console, print_table
    from cifarlab.training.display import Display

    folder = RunFolder(run).require()
    _use_free_cores()
    with Display() as display:
        explained = explain_run(
            folder,
            images or [],
            layers=layers,
            target=target,
            resize_mode=resize_mode,
            sanity_check=sanity_check,
            out=out,
            formats=formats(figures),
            progress=display.prepare,
            log=console.print,
        )
    print_table(("image", "true", "predicted", "probability", "map for"), explained.rows)
    for note in explained.notes:
        console.print(note)
    console.print(f"figures: {explained.folder} ({', '.join(explained.slugs)})", soft_wrap=True)
    say_next(*(("dashboard", run.parent) if images or out else ("report", run)))
