"""Run a search: check everything, train the trials, write table, figures and the best recipe."""

import time
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.config.duration import WallTime, parse_time_option
from cifarlab.config.plugins import copy_plugins, plugin_hashes
from cifarlab.experiments.engine import Log, resume_command
from cifarlab.experiments.placement import DEFAULT_PLACEMENT, Placement, require_count
from cifarlab.experiments.search.definition import Search, find_search, validate_space
from cifarlab.experiments.search.driver import SearchDriver
from cifarlab.experiments.search.figures import FIGURES
from cifarlab.experiments.search.finalists import Finalists, read_finalists, retrain_finalists
from cifarlab.experiments.search.folder import CHANGED_HINT, SearchFolder
from cifarlab.experiments.search.record import trial_name
from cifarlab.experiments.search.results import SearchResults, read_results
from cifarlab.experiments.search.table import csv_text, markdown_page, results_as_json
from cifarlab.plots.spec import require_formats
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import to_yaml
from cifarlab.report.write import write_figures
from cifarlab.run_folder import RUNS
from cifarlab.system.errors import RunFolderError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import write_text


class FinishedSearch(NamedTuple):
    """The result of a search: folder, results, finalists, and in words what is not finished."""

    folder: SearchFolder
    results: SearchResults
    finalists: Finalists | None
    problems: list[str]

    @property
    def n_failed(self) -> int:
        """Return how many trials, and runs of finalists, failed."""
        trials = sum(row.failure is not None for row in self.results.rows)
        return trials + (self.finalists.n_failed if self.finalists else 0)


def run_search(
    search: Search | str,
    *,
    placement: Placement = DEFAULT_PLACEMENT,
    max_time: WallTime | str | None = None,
    resume: bool = False,
    n_seeds: int | None = None,
    scale: float = 1.0,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    log: Log = print,
    command: str = "cifarlab.search",
) -> FinishedSearch:
    """Train the missing trials of a search and write its results.

    Args:
        search: the search, the name of a shipped one, or a YAML file
        placement: where the trials train, and how many at a time
        max_time: time ("2 h") after which the search ends, its trials at their last checkpoints
        resume: go on with unfinished trials
        n_seeds: once no trial is left, train the finalists with so many new seeds
        scale: fraction of the training images and epochs, in (0, 1]
        data: ``data.source`` of all trials; None for the recipe's own
        runs: folder of the runs; the search goes to its ``searches`` folder
        formats: file formats of the figures
        log: receives lines about the progress
        command: the command that the user typed

    Raises:
        UserError: the search or an option is not valid or can't be met, or an extra is missing
        RunFolderError: the search was begun and ``resume`` is false, or it was another one
        StorageError: the disk can't be written to
        Interrupted: a signal arrived
    """
    require_formats(formats)
    require_count("n-seeds", n_seeds)
    search, limit = find_search(search), parse_time_option("--max-time", max_time)
    end = inf if limit is None else time.monotonic() + limit.seconds
    base = _check_search(search, data, scale, placement)
    folder = SearchFolder.locate(search.name, scale, data, runs)
    with folder.lock():
        _require_same_search(search, base, scale, folder, command)
        driver = SearchDriver(search, base, scale, folder, command, log, resume)
        driver.require_resumable()
        if driver.n_pending:
            log(f"{search.name}: {driver.n_pending} trials to train; {folder.path}")
            placement.run(driver, resume_command(command), log, end)
        results = read_results(search, scale, folder)
        finalists = None if n_seeds else read_finalists(results, folder)
        hint = f"not finished; go on with: {resume_command(command)}"
        problems = [f"{driver.n_pending} trials are {hint}"] if driver.n_pending else []
        if n_seeds and not problems and results.best_row:  # else trials are left, or all failed
            options = {"formats": formats, "command": command, "log": log, "placement": placement}
            finalists = retrain_finalists(results, folder, n_seeds, end, **options)
            problems += [f"the finalists are {hint}"] * (time.monotonic() >= end)
        write_results(results, finalists, base, folder, formats)
    return FinishedSearch(folder, results, finalists, problems)


def _check_search(search: Search, data: str | None, scale: float, placement: Placement) -> Recipe:
    """Return the search's recipe, if it, the space, the scale and the extras can be used."""
    base = search.base_recipe(data)
    validate_space(search, base)
    search.trial_recipe({}, base, scale)  # a scale out of range is refused here
    require_packages("a search", "search", "optuna")
    placement.require_valid()
    return base


def _require_same_search(
    search: Search, base: Recipe, scale: float, folder: SearchFolder, command: str
) -> None:
    """Refuse to resume with another definition than the recorded one; more trials are allowed.

    A search that has drawn no trial has not begun.
    """
    header: dict[str, Any] = {
        "search": search.model_dump(mode="json"),
        "base": base.model_dump(mode="json"),
        "metric": base.evaluation.metric.facts._asdict(),
        "scale": scale,
        "command": command,
    }
    content = folder.content() if folder.history().trials else {}
    for part, words in (("search", "another {keys}"), ("base", "other settings of {recipe}")):
        recorded, current = (_fixed_settings(tree.get(part, {})) for tree in (content, header))
        keys = ", ".join(key for key in current if current[key] != recorded.get(key))
        if content and keys:
            what = f"{folder.path} was begun with {words.format(keys=keys, recipe=search.recipe)}"
            raise RunFolderError(what, CHANGED_HINT)
    copy_plugins((*search.plugins, *base.plugins), folder.path)
    folder.write({**content, **header})


def _fixed_settings(tree: dict[str, Any]) -> dict[str, Any]:
    """Return a search or recipe without what may change: number of trials, text and callbacks."""
    ignored_keys = dict.fromkeys(("trials", "about", "callbacks"))
    return {**tree, **ignored_keys, "plugins": plugin_hashes(tree)}


def write_results(
    results: SearchResults,
    finalists: Finalists | None,
    base: Recipe,
    folder: SearchFolder,
    formats: Sequence[str] = ("svg",),
) -> None:
    """Write table, page, figures and the best trial's recipe.

    That recipe is the trained one, but may open the test split as the search's recipe does.

    Args:
        results: the results
        finalists: the finalists over other seeds, if they were trained
        base: the search's recipe
        folder: the search's folder
        formats: file formats of the figures

    Raises:
        StorageError: a file can't be written
    """
    folder.write({**folder.content(), "results": results_as_json(results, finalists)})
    if not results.rows:
        return
    write_text(folder.path / "table.csv", csv_text(results))
    figure_files = write_figures(FIGURES, results, folder.path / "figures", formats)
    figures = [(f"figures/{slug}.svg", words) for slug, words in figure_files]
    write_text(folder.path / "page.md", markdown_page(results, finalists, figures))
    if best := results.best_row:
        recipe = results.search.trial_recipe(best.params, base, results.scale)
        name = f"{results.search.name}/{trial_name(best.number)}"
        write_text(folder.best_recipe, to_yaml(recipe.model_copy(update={"name": name})))
