"""A study with its verdicts; a search with its trials and why each of them ended."""

from collections.abc import Callable
from typing import Any

from cifarlab.dashboard import figures
from cifarlab.dashboard.frame import page_frame, put, put_table, section, watch
from cifarlab.dashboard.index import FILES, Index
from cifarlab.dashboard.urls import run_link
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.search.record import describe_end, trial_name
from cifarlab.experiments.search.space import format_params
from cifarlab.experiments.search.table import (
    IMPORTANCE,
    describe_selection_bias,
    format_importance,
    format_rungs,
    restore_results,
)
from cifarlab.experiments.study.figure import FIGURES
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.report import render_verdicts
from cifarlab.experiments.study.table import restore_comparison
from cifarlab.recipes.text import from_yaml
from cifarlab.report.html import parts
from cifarlab.run_folder.collection import Collection
from cifarlab.run_folder.run_data import dig

Content = dict[str, Any]


async def show_study(index: Index, url_path: str) -> None:
    """Show the study at ``url_path``: table and figure with verdicts, and the state of each run.

    It is read again when its file changes.
    """
    await _show_collection(index, url_path, StudyFolder, _add_study)


async def show_search(index: Index, url_path: str) -> None:
    """Show the search at ``url_path``; it is read again when its record grows."""
    await _show_collection(index, url_path, SearchFolder, _add_search)


async def _show_collection(
    index: Index, url_path: str, kind: type[Collection], add: Callable[[Index, Any, Content], None]
) -> None:
    with page_frame(index, url_path or index.root.name):
        folder = kind(index.path(url_path, kind.what))

        async def fill(content: Content) -> None:
            put("<h1>{}</h1>", dig(content, kind.what, "name") or folder.path.name)
            put("<p>{}</p>", dig(content, kind.what, "about") or "")
            add(index, folder, content)

        await watch([folder.path / name for name in FILES[kind.what]], folder.content, fill)


def _add_study(index: Index, folder: StudyFolder, content: Content) -> None:
    runs = content.get("runs", [])
    n_finished = sum(run.get("state") == "finished" for run in runs)
    put('<p class="muted">{} of {} runs are finished.</p>', n_finished, len(runs))
    if content.get("comparison") is None:
        put(parts().notes(["It has not come to its end: there is no comparison yet."]))
    else:
        with section("Which is better, and is that real?"):
            put(render_verdicts(restore_comparison(content["comparison"])))
        with section("The figure"):
            files = [f for name in FIGURES if (f := folder.path / f"{name}.svg").is_file()]
            put(figures.figure_sheets(index, files) or "No figure was drawn.")
    with section("Its runs"):
        put_table(("row", "seed", "state", "run"), [_study_row(index, folder, run) for run in runs])


def _study_row(index: Index, folder: StudyFolder, run: Content) -> tuple[Any, ...]:
    failure = dig(run, "failure", "what")
    state = f"failed: {failure}" if failure else run.get("state", "")
    name: Any = ""
    if run.get("run"):
        path = (folder.path / run["run"]).resolve()
        is_local = path.is_relative_to(index.root)
        name = run_link(index.url_path(path), path.name) if is_local else path.name
    return run["row"], run["seed"], state, name


def _add_search(index: Index, folder: SearchFolder, content: Content) -> None:
    with section("Its trials"):
        _add_trials(index, folder)
    if content.get("results"):
        with section("What it found"):
            _add_results(folder, content["results"])
    if files := figures.find_figures(folder.path):
        with section("Its figures"):
            put(figures.figure_sheets(index, files))
    if folder.best_recipe.exists():
        with section("The best trial's recipe"):
            put(parts().recipe(from_yaml(folder.best_recipe)))


def _add_trials(index: Index, folder: SearchFolder) -> None:
    metric = folder.metric
    trials = folder.history().ranking(metric)
    put(f'<p class="muted">{len(trials)} trials, best first, by validation {metric.title}.</p>')
    keys = list(dict.fromkeys(key for trial in trials for key in trial.params))
    rows = []
    for trial in trials:
        name, run = trial_name(trial.number), folder.trial(trial.number)
        score, epochs = trial.score, trial.epochs
        if trial.stop_reason is None and trial.rung_decisions:  # training: as at its last rung
            score, epochs = trial.rung_decisions[-1].score, trial.rung_decisions[-1].epoch
        rows.append(
            (
                run_link(index.url_path(run.path), name) if run.exists else name,
                metric.number(score),
                epochs,
                describe_end(trial, metric),
                *format_params(trial.params, keys),
            )
        )
    unit = " (%)" if metric.percent else ""
    put_table(("trial", f"validation{unit}", "epochs", "how it ended", *keys), rows)


def _add_results(folder: SearchFolder, tree: Content) -> None:
    results, metric = restore_results(tree), folder.metric
    if finalists := results.finalists:
        put("<h3>Finalists over other seeds</h3>")
        biases = [describe_selection_bias(bias, metric) for bias in finalists.selection_bias]
        put(parts().notes(biases))
        put(render_verdicts(finalists.comparison))
    if results.rungs:
        put("<h3>Rungs</h3>")
        put_table(*format_rungs(results.rungs, metric))
    if results.importance:
        put("<h3>What decides</h3>")
        put_table(*format_importance(results.importance))
        put('<p class="muted">{}</p>', IMPORTANCE)
