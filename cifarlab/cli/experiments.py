"""Commands that compare and search: studies, study, compare, searches, search."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from cifarlab.cli.app import app, command_line, echo, parse_formats, takes_plugins
from cifarlab.cli.next_command import after_compare, after_study, print_next
from cifarlab.cli.options import Cluster, Data, Figures, GpusPerTrial, Jobs, Resume, Scale
from cifarlab.system.errors import FailedRunsError


@app.command()
def studies() -> None:
    """All shipped studies: what they ask, and how many runs that takes."""
    from cifarlab.experiments.study.definition import find_study, shipped_studies
    from cifarlab.system.terminal import print_table

    rows = [
        (s.name, f"{len(s.rows)} x {s.max_seeds}", s.about)
        for s in map(find_study, shipped_studies())
    ]
    print_table(("study", "rows x seeds", "what it asks"), rows)


@app.command()
@takes_plugins
def study(
    name: Annotated[str, Argument(metavar="NAME", help="a shipped study or a YAML file")],
    n_seeds: Annotated[int | None, Option(min=1, help="runs per row")] = None,
    until: Annotated[str | None, Option(help="seeds (n_seeds of them), or decided")] = None,
    margin: Annotated[
        float | None,
        Option(help="points (or the metric's unit): rows that differ by less are the same"),
    ] = None,
    most: Annotated[int | None, Option(help="runs per row at most, until decided")] = None,
    first_seed: Annotated[int | None, Option(min=0, help="a new study of other seeds")] = None,
    scale: Scale = 1.0,
    only: Annotated[str | None, Option(help="rows to train, and the baseline: '*drop*'")] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    gpus_per_trial: GpusPerTrial = None,
    resume: Resume = False,
    data: Data = None,
    figures: Figures = "svg",
    plugins: tuple[Any, ...] = (),
) -> None:
    """Train recipes over seeds and say which is better, by how much, and whether that is real.

    Exits with 5 where it came to its end but runs failed.
    """
    from cifarlab.cli.printing import print_comparison
    from cifarlab.experiments.placement import Placement
    from cifarlab.experiments.study.definition import find_study
    from cifarlab.experiments.study.engine import run_study

    plan: dict[str, Any] = {"n_seeds": n_seeds, "until": until, "margin": margin, "most": most}
    plan["first_seed"] = first_seed
    result = run_study(
        find_study(name, plugins),
        **plan,
        scale=scale,
        only=only,
        placement=Placement(jobs, cluster, gpus_per_trial),
        resume=resume,
        data=data,
        **_engine_options(figures),
    )
    print_comparison(result.comparison)
    echo(f"study: {result.folder.path}")
    print_next(*after_study(name, scale, data, **plan))
    _require_no_failures(result.n_failed, "its note under the table")


@app.command()
@takes_plugins
def compare(
    names: Annotated[
        list[str],
        Argument(metavar="RUN_OR_RECIPE...", help="run folders, folders of them, or recipes"),
    ],
    against: Annotated[str | None, Option(help="the baseline; default: the first")] = None,
    metric: Annotated[
        str, Option(help="accuracy, macro_f1, log_loss, ...; seconds, corruption")
    ] = "accuracy",
    by: Annotated[str | None, Option(help="image: which images and classes differ")] = None,
    margin: Annotated[
        float | None, Option(help="points: the same within it, or not worse by more?")
    ] = None,
    out: Annotated[Path | None, Option(help="a folder for table and figure")] = None,
    figures: Figures = "svg",
    plugins: tuple[Any, ...] = (),
) -> None:
    """Compare finished runs, grouped by recipe and paired by seed."""
    from cifarlab.cli.printing import print_comparison
    from cifarlab.experiments.study.folder import write_comparison
    from cifarlab.experiments.study.outcomes import compare_runs
    from cifarlab.run_folder.schemas import as_json
    from cifarlab.system.files import write_json

    comparison = compare_runs(names, against, metric=metric, plugins=plugins, by=by, margin=margin)
    print_comparison(comparison)
    if out:
        write_comparison(comparison, out, parse_formats(figures))
        write_json(out / "comparison.json", as_json(comparison._replace(runs=())))
        echo(f"comparison: {out}")
    words = after_compare(names, against, metric, out, by=by, margin=margin)
    print_next(*words, *(word for p in plugins for word in ("--plugin", p.file)))


@app.command()
def searches() -> None:
    """All shipped searches: what they look for, and how many trials that takes."""
    from cifarlab.experiments.search.definition import find_search, shipped_searches
    from cifarlab.system.terminal import print_table

    rows = [
        (s.name, str(s.trials), str(s.max_epochs), s.about)
        for s in map(find_search, shipped_searches())
    ]
    print_table(("search", "trials", "up to", "what it looks for"), rows)


@app.command()
@takes_plugins
def search(
    name: Annotated[str, Argument(metavar="SEARCH", help="a shipped search or a YAML file")],
    trials: Annotated[int | None, Option(help="how many")] = None,
    max_epochs: Annotated[str | None, Option(help="of the longest trial: '30 epochs'")] = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    gpus_per_trial: GpusPerTrial = None,
    max_time: Annotated[str | None, Option(help="time after which it ends: '2 h'")] = None,
    resume: Resume = False,
    n_seeds: Annotated[int | None, Option(min=1, help="train the finalists anew, so often")] = None,
    scale: Scale = 1.0,
    data: Data = None,
    sampler: Annotated[str | None, Option(help="a kind: random, tpe")] = None,
    scheduler: Annotated[str | None, Option(help="a kind: asha, none")] = None,
    figures: Figures = "svg",
    plugins: tuple[Any, ...] = (),
) -> None:
    """Search a recipe's settings, stop hopeless trials early, and explain what was found.

    Exits with 5 where it came to its end but trials failed.
    """
    from cifarlab.cli.printing import print_search
    from cifarlab.experiments.placement import Placement
    from cifarlab.experiments.search.definition import apply_options, find_search
    from cifarlab.experiments.search.engine import run_search

    result = run_search(
        apply_options(
            find_search(name, plugins),
            trials=trials,
            max_epochs=max_epochs,
            sampler=sampler,
            scheduler=scheduler,
        ),
        placement=Placement(jobs, cluster, gpus_per_trial),
        max_time=max_time,
        resume=resume,
        n_seeds=n_seeds,
        scale=scale,
        data=data,
        **_engine_options(figures),
    )
    print_search(result)
    best = result.folder.best_recipe
    print_next(*(("train", best) if best.exists() else ("dashboard",)))
    _require_no_failures(result.n_failed, "its line of the table")


def _engine_options(figures: str) -> dict[str, Any]:
    """Return the arguments that the engines of studies and searches have in common."""
    return {"formats": parse_formats(figures), "command": command_line(), "log": echo}


def _require_no_failures(n_failed: int, location: str) -> None:
    """Raise FailedRunsError where runs failed; ``location`` says where the reasons stand."""
    if n_failed:
        what = f"{n_failed} run{' has' if n_failed == 1 else 's have'} failed"
        raise FailedRunsError(f"{what}; the others are compared", f"{location} says why")
