"""Comparisons, studies and searches in Python, each with its table and figures."""

import re
from collections.abc import Callable, Sequence
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cifarlab.api.runs import AnyRun, TrainedRun
from cifarlab.api.views import Plots
from cifarlab.config.plugins import plugin_session
from cifarlab.experiments.placement import Placement
from cifarlab.experiments.search.definition import find_search
from cifarlab.experiments.search.engine import run_search
from cifarlab.experiments.search.results import SearchResults
from cifarlab.experiments.study.comparison import Comparison
from cifarlab.experiments.study.definition import find_study
from cifarlab.experiments.study.engine import run_study
from cifarlab.experiments.study.margin import margin_table
from cifarlab.experiments.study.outcomes import compare_runs
from cifarlab.experiments.study.report import render_comparison
from cifarlab.experiments.study.table import format_rows
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import from_yaml
from cifarlab.report.by_image import flips_rows, interval_table

if TYPE_CHECKING:
    import pandas as pd

Table = TypeVar("Table", "ComparisonTable", "SearchTable")
_PLUGINS_DOC = """plugins: Files with kinds of your own; naming them here approves them.
        trust_plugins: Approve the plug-ins that the experiment and its recipes bring."""
_PLACEMENT_DOC = """jobs: Runs at a time; None for one per GPU, else one, in this process.
        cluster: Address of a Ray cluster; None to train on this machine.
        gpus_per_trial: 1, or the part of a GPU that a run has."""


class ComparisonTable:
    """Recipes beside each other: a row for each, with what may be concluded of it."""

    def __init__(self, comparison: Comparison, path: Path | None = None) -> None:
        self.comparison = comparison
        self.plot = Plots("cifarlab.experiments.study.figure:FIGURES", lambda: comparison)
        self.path = path

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each recipe, as the command line prints it."""
        return _frame(*format_rows(self.comparison))

    @property
    def verdicts(self) -> dict[str, str]:
        """Return, by recipe, what may be concluded of it against the baseline."""
        return {row.name: row.verdict for row in self.comparison.rows}

    @property
    def intervals(self) -> "pd.DataFrame":
        """Return each difference's intervals over seeds, images and both, with ``by="image"``."""
        return _frame(*interval_table(self.comparison.by_image))

    @property
    def flips(self) -> "pd.DataFrame":
        """Return, with ``by="image"``, the images of each class that became right and wrong."""
        import pandas as pd

        return pd.DataFrame(flips_rows(self.comparison.by_image))

    @property
    def margins(self) -> "pd.DataFrame":
        """Return, with a ``margin``, which recipes are the same within it, or not worse by more."""
        return _frame(*margin_table(self.comparison.margin_rows))

    def __repr__(self) -> str:
        verdicts = "; ".join(f"{name}: {verdict}" for name, verdict in self.verdicts.items())
        return f"<ComparisonTable with {self.comparison.baseline}: {verdicts}>"

    def _repr_html_(self) -> str:
        return str(render_comparison(self.comparison, ("figure", "evidence"))[0])


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
        return str(self.frame.to_html())


def _frame(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(rows, columns=list(headers)).set_index("row")


def compare(
    *runs: AnyRun,
    against: str | None = None,
    metric: str = "accuracy",
    by: str | None = None,
    margin: float | None = None,
    plugins: Sequence[str] = (),
    trust_plugins: bool = False,
) -> ComparisonTable:
    """Compare finished runs, grouped by recipe and paired by seed, as ``cifarlab compare`` does.

    Args:
        *runs: runs or their folders
        against: the recipe that is the baseline; without it, that of the first run
        metric: ``accuracy``, ``macro_f1``, ``log_loss``, ..., or a kind of the plug-ins;
            ``seconds`` of training, or accuracy under ``corruption``
        by: ``image``: which images and classes differ, under ``intervals`` and ``flips``
        margin: test whether recipes are the same within it, or not worse by more, under ``margins``
        plugins: files with kinds of your own, beside those that the runs bring; naming them here
            approves them
        trust_plugins: as in ``load_run``

    Raises:
        UserError: there is no such metric or recipe, or the runs can't be compared
        RunFolderError: a folder is no run's, or damaged
        PluginError: a plug-in is missing, not approved or fails
    """
    names = [str(run.path if isinstance(run, TrainedRun) else run) for run in runs]
    with plugin_session(plugins, trust_plugins) as files:
        options: dict[str, Any] = {"metric": metric, "plugins": files, "by": by, "margin": margin}
        return ComparisonTable(compare_runs(names, against, **options))


def _in_python(
    run: Callable[..., Any], find: Callable[..., Any], table_type: type[Table]
) -> Callable[..., Table]:
    """Return what runs an experiment as the command line does, and returns a table.

    It has the options of ``run``, save those that are not for people, and those for plug-ins.
    """
    hidden = ("command", "train", "placement")
    options = [p for p in signature(run).parameters.values() if p.name not in hidden]
    where = [p for p in signature(Placement).parameters.values() if p.name not in hidden]
    options += [p.replace(kind=p.KEYWORD_ONLY) for p in where]
    options += [p for p in signature(compare).parameters.values() if "plugins" in p.name]
    name, own_signature = options[0].name, Signature(options, return_annotation=table_type)

    def run_experiment(*args: Any, **keywords: Any) -> Table:
        values = own_signature.bind(*args, **keywords).arguments
        files, trust_plugins = values.pop("plugins", ()), values.pop("trust_plugins", False)
        placement = {key: values.pop(key) for key in Placement._fields if key in values}
        values["placement"] = Placement(**placement)
        with plugin_session(files, trust_plugins) as plugins:
            folder, outcome, *_ = run(find(values.pop(name), plugins), **values)
        return table_type(outcome, folder.path)

    run_experiment.__name__ = run_experiment.__qualname__ = name
    run_experiment.__signature__ = own_signature  # type: ignore[attr-defined]
    doc = re.sub("placement: .*", _PLACEMENT_DOC, run.__doc__ or "")
    run_experiment.__doc__ = re.sub("command: .*", _PLUGINS_DOC, doc)
    return run_experiment


study = _in_python(run_study, find_study, ComparisonTable)
search = _in_python(run_search, find_search, SearchTable)
