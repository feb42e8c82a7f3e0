"""Commands that look at a run: evaluate, audit, predict, explain."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from cifarlab.cli.app import SettingsCommand, app, command_line, echo, parse_formats, takes_plugins
from cifarlab.cli.next_command import after_audit, after_predict, print_next
from cifarlab.cli.options import Cluster, Figures, GpusPerTrial, Jobs, Resize, Run, Settings
from cifarlab.system.errors import UserError

if TYPE_CHECKING:
    from cifarlab.run_folder.folder import RunFolder


def use_free_threads() -> None:
    """On a CPU, use as many threads as cores are free."""
    from cifarlab.system.device import fastest_device
    from cifarlab.system.threads import use_threads

    if fastest_device().type == "cpu" and (note := use_threads(None).note):
        sys.stderr.write(f"{note}\n")


def _open_run(run: Path) -> "RunFolder":
    """Return a run's folder, and use the free threads."""
    from cifarlab.run_folder.folder import RunFolder

    folder = RunFolder(run).require()
    use_free_threads()
    return folder


@contextmanager
def progress_display() -> Iterator[dict[str, Any]]:
    """Show a computation's progress; yield the arguments that report to it."""
    from cifarlab.training.display import Display

    with Display() as display:
        yield {"progress": display.prepare, "log": echo}


@app.command()
@takes_plugins
def evaluate(
    run: Run,
    split: Annotated[str, Option(help="val or test")] = "val",
    tta_views: Annotated[int | None, Option(help="1, 2, 6 or 10 averaged views")] = None,
    groups: Annotated[Path | None, Option(help="YAML of classes: 'group: [class, class]'")] = None,
    coverage: Annotated[
        float | None, Option(help="with --split test: do sets of classes keep it? such as 0.9")
    ] = None,
    full: Annotated[bool, Option("--full", help="also views, corruptions, OOD; is kept")] = False,
    ood: Annotated[str | None, Option(help="with --full: out-of-distribution images")] = None,
    images: Annotated[int | None, Option(min=1, help="with --full: how many to corrupt")] = None,
) -> None:
    """Measure a run's network anew; opening the test split is recorded in its provenance."""
    from cifarlab.cli.printing import print_evaluation
    from cifarlab.evaluation.run_evaluation import evaluate_fully, evaluate_run

    if full and tta_views is not None:
        raise UserError("--full compares all views", "leave out --tta-views")
    if not full and (ood is not None or images is not None):
        raise UserError("--ood and --images belong to --full", "add it")
    folder, command = _open_run(run), command_line()
    with progress_display() as display_options:
        if full:
            evaluation = evaluate_fully(
                folder, split, groups, ood, images, coverage, command=command, **display_options
            )
        else:
            result, data = evaluate_run(
                folder, split, tta_views, groups, coverage, command=command, **display_options
            )
            evaluation = {"measured": result, "data": data}
    print_evaluation(split, evaluation)
    print_next("report" if full else "explain", run)


@app.command(cls=SettingsCommand)
@takes_plugins
def audit(
    name: Annotated[str, Argument(metavar="RUN_OR_RECIPE", help="a run folder, or a recipe")],
    settings: Settings = None,
    folds: Annotated[int, Option(min=0, help="networks that judge labels; 0: none")] = 3,
    test: Annotated[bool, Option("--test", help="look at the test split, too")] = False,
    csv: Annotated[bool, Option("--csv", help="also all judged labels and pairs as CSV")] = False,
    out: Annotated[Path | None, Option(help="a folder; default: the run's, or audits/")] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    gpus_per_trial: GpusPerTrial = None,
    plugins: tuple[Any, ...] = (),
) -> None:
    """Look for images that are there twice and labels that are wrong in the training data."""
    from cifarlab.audit.run_audit import audit as run_audit
    from cifarlab.cli.printing import print_audit
    from cifarlab.experiments.placement import Placement
    from cifarlab.run_folder.folder import RunFolder

    with progress_display() as display_options:
        result = run_audit(
            name,
            settings or [],
            folds=folds,
            test=test,
            csv=csv,
            out=out,
            plugins=plugins,
            placement=Placement(jobs, cluster, gpus_per_trial),
            command=command_line(),
            **display_options,
        )
    print_audit(result.findings() or {})
    echo(f"audit: {result.path}")
    if csv:
        tables = ("pairs.csv", "labels.csv") if folds else ("pairs.csv",)
        echo(f"tables: {', '.join(str(result.path / table) for table in tables)}")
    print_next(*after_audit(name, settings or [], RunFolder(name).exists, out))


@app.command()
@takes_plugins
def predict(
    run: Run,
    paths: Annotated[list[Path], Argument(metavar="PATH...", help="images, folders, archives")],
    output_format: Annotated[str, Option("--format", help="table, csv, json or kaggle")] = "table",
    sample_submission: Annotated[Path | None, Option(help="its ids and labels must fit")] = None,
    resize_mode: Resize = None,
    coverage: Annotated[
        float | None, Option(help="sets of classes: so many have the true one, such as 0.9")
    ] = None,
    reject: Annotated[
        bool, Option("--reject", help="name no class where the set has more than one")
    ] = False,
    out: Annotated[Path | None, Option(help="a file; default: standard output")] = None,
) -> None:
    """Predict images, resized and normalised as in training, with calibrated confidence."""
    from cifarlab.inference.formats import format_predictions, require_format
    from cifarlab.inference.run_predictor import predict_images
    from cifarlab.system.files import write_text

    has_sets = coverage is not None
    require_format(output_format, sample_submission, sets=has_sets, reject=reject)
    predictions = predict_images(_open_run(run), paths, resize_mode, coverage)
    if predictions.conformal and (note := predictions.conformal.note):
        typer.echo(note, err=True)
    text = format_predictions(predictions, output_format, sample_submission, reject=reject)
    if out:
        write_text(out, text)
    else:
        typer.echo(text, nl=False)
    print_next(*after_predict(run, paths, resize_mode), err=True)


@app.command()
@takes_plugins
def explain(
    run: Run,
    images: Annotated[
        list[Path] | None, Argument(metavar="[IMAGE]...", help="files; default: held-out images")
    ] = None,
    layers: Annotated[str | None, Option(help="all, or names with commas; else the last")] = None,
    target: Annotated[str, Option(help="class of the maps: predicted, true, a name")] = "predicted",
    resize_mode: Resize = None,
    sanity_check: Annotated[bool, Option("--sanity-check", help="do maps need weights?")] = False,
    out: Annotated[Path | None, Option(help="default: RUN/explained, for reports")] = None,
    figures: Figures = "svg",
) -> None:
    """Show where a network looks, what its layers see, and what it is made of."""
    from cifarlab.explain.explain_run import explain_run
    from cifarlab.system.terminal import print_table

    folder = _open_run(run)
    with progress_display() as display_options:
        explanation = explain_run(
            folder,
            images or [],
            layers=layers,
            target=target,
            resize_mode=resize_mode,
            sanity_check=sanity_check,
            out=out,
            formats=parse_formats(figures),
            **display_options,
        )
    print_table(("image", "true", "predicted", "probability", "map for"), explanation.rows)
    for note in explanation.notes:
        echo(note)
    echo(f"figures: {explanation.folder} ({', '.join(explanation.slugs)})")
    print_next(*(("dashboard", run.parent) if images or out else ("report", run)))
