"""Runs a search: everything is checked, the engine trains the trials, the record is explained."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifarlab.config.duration import WallTime
from cifarlab.config.plugins import copy_plugins, plugin_hashes
from cifarlab.experiments.cluster import cluster_workers, require_ray
from cifarlab.experiments.engine import (
    Log,
    Workers,
    local_workers,
    resume_command,
    run_experiment,
    unfinished_error,
)
from cifarlab.experiments.search.definition import Search, validate
from cifarlab.experiments.search.figures import FIGURES
from cifarlab.experiments.search.finalists import Finalists, retrain_finalists, stored_finalists
from cifarlab.experiments.search.folder import SearchFolder, search_folder, trial_name
from cifarlab.experiments.search.results import SearchResults, read_results
from cifarlab.experiments.search.table import csv_text, markdown_page, results_as_json
from cifarlab.experiments.worker import TrainJob, train_job
from cifarlab.experiments.writing import require_sound, write_figures
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder.naming import RUNS
from cifarlab.system.errors import CifarlabError, RunFolderError
from cifarlab.system.extras import require_packages
from cifarlab.system.files import write_text

if TYPE_CHECKING:
    from cifarlab.experiments.search.driver import SearchDriver


class FinishedSearch(NamedTuple):
    """A search's end: its folder, what it found, and what could not be made."""

    folder: SearchFolder
    results: SearchResults
    finalists: Finalists | None
    problems: list[str]

    @property
    def n_failed(self) -> int:
        """How many trials failed, and runs of finalists."""
        trials = sum(row.trial.failure is not None for row in self.results.rows)
        return trials + (self.finalists.n_failed if self.finalists else 0)


def run_search(
    search: Search,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    max_time: WallTime | None = None,
    resume: bool = False,
    n_seeds: int | None = None,
    scale: float = 1.0,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    command: str = "cifarlab.experiments.search.engine.run_search",
    log: Log = lambda _line: None,
    train: TrainJob = train_job,
) -> FinishedSearch:
    """Train the trials of ``search`` that are missing, and explain all.

    ``jobs`` trials at a time, on this machine or on the Ray cluster at the address ``cluster``,
    until ``max_time`` is used up. Trials that a stopped or killed search left unfinished need
    ``resume``. With ``n_seeds``, the finalists are trained anew on this machine with so many other
    seeds, once no trial is left to train. ``formats`` are the figures'. ``train`` is what a worker
    does. Raises RecipeError, UserError, MissingExtraError, RunFolderError, StorageError,
    Interrupted.
    """
    require_sound(formats, jobs=jobs, n_seeds=n_seeds)
    base = search.base_recipe(data)
    validate(search, base)
    search.trial_recipe({}, base, scale)  # a scale out of range is refused here
    require_packages("a search", "search", "optuna")
    if cluster:
        require_ray()
    from cifarlab.experiments.search.driver import SearchDriver

    folder, here = search_folder(search, scale, data, runs), 1 if cluster else jobs or 1
    with folder.lock():
        _require_same_search(search, base, scale, folder, command)
        driver = SearchDriver(search, base, scale, folder, command, log)
        if driver.unfinished and not resume:
            name = trial_name(driver.unfinished[0].number)
            raise unfinished_error(folder.path / name, command)
        _require_same_images(base, driver, log if driver.n_pending else None)
        if driver.n_pending:
            log(f"{search.name}: {driver.n_pending} trials to train; {folder.path}")
            with _workers(cluster, jobs, log, train) as workers:
                run_experiment(driver, command, workers, max_time)
        results = read_results(search, scale, folder)
        problems, finalists = [], None
        if driver.n_pending:
            what = f"{driver.n_pending} trials are not finished"
            problems = [f"{what}; go on with: {resume_command(command)}"]
        if n_seeds is None:
            finalists = stored_finalists(results, folder)
        elif not problems and results.best_row:  # else there are no best yet, or all failed
            finalists = retrain_finalists(results, folder, n_seeds, here, formats, command, log)
        problems += write_results(results, finalists, base, folder, formats)
    return FinishedSearch(folder, results, finalists, problems)


def _workers(
    cluster: str | None, jobs: int | None, log: Log, train: TrainJob
) -> AbstractContextManager[Workers]:
    if cluster:
        return cluster_workers(cluster, jobs, train)
    return nullcontext(local_workers(jobs or 1, log, train))


def _require_same_search(
    search: Search, base: Recipe, scale: float, folder: SearchFolder, command: str
) -> None:
    """Refuse to go on with another search than was begun; more trials are welcome."""
    header: dict[str, Any] = {
        "search": search.model_dump(mode="json"),
        "base": base.model_dump(mode="json"),
        "metric": base.evaluation.metric.facts._asdict(),
        "scale": scale,
        "command": command,
    }
    content = folder.content()
    if content:
        stored, wanted = (_comparable(tree.get("search", {})) for tree in (content, header))
        if changed := [key for key in wanted if wanted[key] != stored.get(key)]:
            raise RunFolderError(
                f"{folder.path} was begun with another {', '.join(changed)}",
                "leave that as it was, or give the search another name to begin anew",
            )
        if _comparable(content.get("base", {})) != _comparable(header["base"]):
            raise RunFolderError(
                f"{folder.path} was begun with other settings of {search.recipe}",
                "restore them, or give the search another name to begin anew",
            )
    copy_plugins((*search.plugins, *base.plugins), folder.path)
    folder.write({**content, **header})


def _comparable(tree: dict[str, Any]) -> dict[str, Any]:
    """What of a search or recipe may not change: not how many trials, nor what watches them."""
    free = dict.fromkeys(("trials", "about", "callbacks"))
    return {**tree, **free, "plugins": plugin_hashes(tree)}


def _require_same_images(base: Recipe, driver: "SearchDriver", log: Log | None) -> None:
    """Decode the images once, before many workers wait for one of them.

    Raises DataError, and RunFolderError where earlier trials were trained on others. Without
    ``log`` no trial is left to train, and images that can't be opened any more are not missed.
    """
    from cifarlab.data.opening import open_data

    folder = driver.folder
    try:
        dataset = open_data(base.data, log=log).dataset
    except CifarlabError:
        if log:
            raise
        return
    for number in driver.history.trials:
        if not folder.trial(number).has_same_data(dataset.fingerprint):
            raise RunFolderError(
                f"the images are not those that {folder.path} was begun with",
                "restore them, or give the search another name to begin anew",
            )


def write_results(
    results: SearchResults,
    finalists: Finalists | None,
    base: Recipe,
    folder: SearchFolder,
    formats: Sequence[str] = ("svg",),
) -> list[str]:
    """Write table, page, figures and the best trial's recipe; what could not be made, in words.

    That recipe is as it was trained, but for the test split, which it may open. Raises
    StorageError.
    """
    folder.write({**folder.content(), "results": results_as_json(results, finalists)})
    if not results.rows:
        return []
    write_text(folder.path / "table.csv", csv_text(results))
    drawn, problems = write_figures(FIGURES, results, folder.path / "figures", formats)
    figures = [(f"figures/{slug}.svg", words) for slug, words in drawn]
    write_text(folder.path / "page.md", markdown_page(results, finalists, figures))
    if best := results.best_row:
        recipe = results.search.trial_recipe(best.trial.params, base, results.scale)
        name = f"{results.search.name}/{trial_name(best.trial.number)}"
        write_text(folder.best_recipe, to_yaml(recipe.model_copy(update={"name": name})))
    return problems
