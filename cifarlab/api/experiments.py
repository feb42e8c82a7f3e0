"""Comparisons, studies and searches in Python, each with its table and figures."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cifarlab.api.runs import AnyRun, Plots, TrainedRun
from cifarlab.config.plugins import approve_all_plugins
from cifarlab.experiments.search.definition import Search, find_search, parse_wall_time
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.search.results import SearchResults
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import Study, find_study, parse_metric
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.study.table import format_rows
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import from_yaml
from cifarlab.run_folder.naming import RUNS

if TYPE_CHECKING:
    import pandas as pd


class ComparisonTable:
    """Recipes beside each other: a row for each, with what may be concluded of it."""

    def __init__(self, comparison: Comparison, path: Path | None = None) -> None:
        self.comparison = comparison
        self.plot = Plots("cifarlab.experiments.study.figure:FIGURES", lambda: comparison)
        self.path = path

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each recipe, as the command line prints it."""
        import pandas as pd

        headers, rows = format_rows(self.comparison)
        return pd.DataFrame(rows, columns=list(headers)).set_index("row")

    @property
    def verdicts(self) -> dict[str, str]:
        """Return, by recipe, what may be concluded of it against the baseline."""
        return {row.name: row.verdict for row in self.comparison.rows}

    def __repr__(self) -> str:
        verdicts = "; ".join(f"{name}: {verdict}" for name, verdict in self.verdicts.items())
        return f"<ComparisonTable with {self.comparison.baseline}: {verdicts}>"

    def _repr_html_(self) -> str:
        return self.frame.to_html()


class SearchTable:
    """A search's trials, the best first, and the recipe of the best."""

    def __init__(self, results: SearchResults, path: Path) -> None:
        self.results = results
        self.plot = Plots("cifarlab.experiments.search.figures:FIGURES", lambda: results)
        self.path = path

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each trial, as ``table.csv`` has it."""
        import pandas as pd

        return pd.read_csv(self.path / "table.csv", index_col="rank")

    @property
    def best(self) -> Recipe:
        """Return the recipe of the best trial.

        Raises:
            RecipeError: no trial has a score
        """
        return from_yaml(self.path / "best.yaml")

    def __repr__(self) -> str:
        best = self.results.best_row
        score = f", best {100 * best.score:.2f} %" if best and best.score is not None else ""
        return f"<SearchTable {self.path}: {len(self.results.rows)} trials{score}>"

    def _repr_html_(self) -> str:
        return self.frame.to_html()


def compare(
    *runs: AnyRun, against: str | None = None, metric: str = "accuracy", trust_plugins: bool = False
) -> ComparisonTable:
    """Compare finished runs, grouped by recipe and paired by seed, as ``cifarlab compare`` does.

    Args:
        *runs: runs or their folders
        against: the recipe that is the baseline; without it, that of the first run
        metric: ``accuracy``, ``macro_f1``, ``log_loss``, ...
        trust_plugins: as in ``load_run``

    Raises:
        UserError: there is no such metric or recipe, or the runs can't be compared
        RunFolderError: a folder is no run's, or damaged
        PluginError: a plug-in is missing, not approved or fails
    """
    names = [str(run.path if isinstance(run, TrainedRun) else run) for run in runs]
    with approve_all_plugins(trust_plugins):
        return ComparisonTable(compare_runs(names, against, metric=parse_metric(metric)))


def study(
    name: Study | str,
    *,
    n_seeds: int | None = None,
    scale: float = 1.0,
    only: str | None = None,
    jobs: int = 1,
    resume: bool = False,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    log: Callable[[str], None] = print,
) -> ComparisonTable:
    """Run a study, as ``cifarlab study`` does.

    Args:
        name: its name, YAML file or value
        n_seeds: runs of each row; without it, as many as the study says
        scale: fraction of the training images and of the epochs, for a shorter study
        only: pattern of the rows that are trained, besides the baseline
        jobs: runs that are trained at a time
        resume: go on with the runs that a killed study left unfinished
        data: a source that replaces the recipes' own
        runs: the folder of the runs
        formats: of the figure: svg, png, pdf
        log: what is called with each line of progress

    Raises:
        CifarlabError: any of cifarlab.system.errors
    """
    resolved = find_study(name) if isinstance(name, str) else name
    run = partial(run_study, n_seeds=n_seeds, scale=scale, only=only, data=data, formats=formats)
    end = run(resolved, jobs=jobs, resume=resume, runs=runs, log=log, command="cifarlab.study")
    return ComparisonTable(end.comparison, end.folder.path)


def search(
    name: Search | str,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    max_time: str | None = None,
    resume: bool = False,
    n_seeds: int | None = None,
    scale: float = 1.0,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    log: Callable[[str], None] = print,
) -> SearchTable:
    """Run a search, as ``cifarlab search`` does.

    Args:
        name: its name, YAML file or value
        jobs: trials that are trained at a time
        cluster: address of a Ray cluster that trains them instead of this machine
        max_time: time by the clock after which no trial goes on, such as ``"2 h"``
        resume: go on with the trials that a stopped or killed search left unfinished
        n_seeds: train the finalists anew with so many other seeds, at the end
        scale: fraction of the training images and of the epochs, for a shorter search
        data: a source that replaces the recipe's own
        runs: the folder of the runs
        formats: of the figures: svg, png, pdf
        log: what is called with each line of progress

    Raises:
        CifarlabError: any of cifarlab.system.errors
    """
    resolved = find_search(name) if isinstance(name, str) else name
    run = partial(run_search, n_seeds=n_seeds, scale=scale, data=data, formats=formats, runs=runs)
    run = partial(run, jobs=jobs, cluster=cluster, max_time=parse_wall_time(max_time))
    end = run(resolved, resume=resume, log=log, command="cifarlab.search")
    return SearchTable(end.results, end.folder.path)
