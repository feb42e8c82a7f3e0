"""What a notebook holds: a trained run, a table of runs, a study, search or comparison.

Objects are views of folders on the disk: whatever the command line made can be loaded here, and
the other way round. Nothing here imports torch before it trains or predicts.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from pkgutil import resolve_name
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from cifarlab.config.plugins import approve_all_plugins, approve_plugins
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, from_yaml
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import RUNS, new_folder
from cifarlab.run_folder.run_data import RunData, describe_left_out, read_readable_runs, read_runs
from cifarlab.system.errors import CifarlabError
from cifarlab.system.formatting import percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from cifarlab.experiments.search.definition import Search
    from cifarlab.experiments.search.results import SearchResults
    from cifarlab.experiments.study.comparison import Comparison
    from cifarlab.experiments.study.definition import Study
    from cifarlab.system.signals import StopRequest
    from cifarlab.training.callback import Callback

# a source, (images, labels), or two such pairs: training and test
Data = str | Path | tuple[Any, Any]


class Plots:
    """Figures by name, each a function that returns it, or None where there is nothing to show.

    ``figures`` says where they are listed, which is imported when it is first looked at.
    """

    def __init__(self, figures: str, subject: Callable[[], Any]) -> None:
        self._figures, self._subject = figures, subject

    def __dir__(self) -> list[str]:
        return list(resolve_name(self._figures))

    def __getattr__(self, name: str) -> "Callable[[], Figure | None]":
        if name.startswith("_") or name not in (figures := resolve_name(self._figures)):
            raise AttributeError(f"there is no figure {name!r}")

        def show() -> "Figure | None":
            from cifarlab.plots.draw import draw

            plot = figures[name][0](self._subject())
            return draw(plot) if plot else None

        show.__doc__ = f"{figures[name][1]}."
        return show


class TrainedRun:
    """One run: its numbers, its history, its network, and under ``plot`` its report's figures."""

    def __init__(self, path: Path | str) -> None:
        self._name = str(path)
        self.folder = RunFolder(Path(path).absolute()).require()  # it stays after a chdir
        self.plot = Plots("cifarlab.plots.catalog:FIGURES", lambda: self._data)

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @cached_property
    def _data(self) -> RunData:
        return read_runs([self.path])[0]

    @property
    def recipe(self) -> Recipe:
        """Everything that decided the outcome."""
        return self._data.recipe

    @property
    def accuracy(self) -> float | None:
        """On the test split, 0 to 1; on validation where it was not opened; None if unfinished."""
        return self._data.split(self._data.split_name).get("accuracy")

    @property
    def result(self) -> dict[str, Any]:
        """What ``result.json`` holds; empty for a run that has not finished."""
        return self._data.result

    @property
    def history(self) -> "pd.DataFrame":
        """The metrics of each epoch, a row each: ``epoch``, ``lr``, ``train.loss``, ..."""
        import pandas as pd

        return pd.json_normalize(self._data.lines)

    def predict(self, images: Any) -> "pd.DataFrame":
        """Return the probability of each class, a row for each image.

        ``images``: files and folders, or an array uint8 (N, H, W, C) or (N, H, W). Images of
        another size are resized as the recipe says. Raises DataError and CheckpointError.
        """
        import pandas as pd

        from cifarlab.inference.run_predictor import RunPredictor

        predictor = RunPredictor(self.folder)
        paths = [images] if isinstance(images, str | Path) else images
        is_array = isinstance(images, np.ndarray)
        predicted = predictor.predict(predictor.take(images) if is_array else predictor.read(paths))
        return pd.DataFrame(
            predicted.probabilities, index=predicted.ids, columns=list(predicted.classes)
        )

    def evaluate(
        self, split: str = "val", views: int | None = None, groups: Path | None = None
    ) -> "Evaluation":
        """Measure ``val`` or ``test`` anew, in so many views; the opening of test is recorded.

        ``groups`` is a YAML file of classes. Raises as evaluation/run_evaluation.py does.
        """
        from cifarlab.evaluation.run_evaluation import evaluate_run

        measured, data = evaluate_run(
            self.folder, split, views, groups, command="cifarlab.evaluate"
        )
        return Evaluation(split=split, data=data, **measured)

    def __repr__(self) -> str:
        run, reached = self._data, f"{self._data.last_epoch} epochs so far"
        if run.split_name:
            reached = f"{run.split_name} accuracy {percent(self.accuracy)}"
        return f"<TrainedRun {self._name}: {run.recipe_name} on {run.data_name}, {reached}>"

    def _repr_html_(self) -> str:
        return RunTable([self.path])._repr_html_()


class Evaluation(SimpleNamespace):
    """What was measured of a ``split`` of the ``data``, as in result.json: ``accuracy``, ..."""

    @property
    def frame(self) -> "pd.DataFrame":
        """A row for each class: how many images, how many correct, accuracy and interval."""
        import pandas as pd

        return pd.DataFrame(self.per_class).set_index("class")

    def __repr__(self) -> str:
        from cifarlab.training.display import score_line

        return f"<Evaluation: {score_line(self.split, vars(self), self.data)}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>" + self.frame.to_html(float_format=percent)


class RunTable(Sequence[TrainedRun]):
    """Runs beside each other: a sequence of ``TrainedRun``, and ``frame``, a data frame."""

    left_out: list[str]  # of each run that can't be read, why

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._runs, refused = read_readable_runs([*map(Path, paths)], (CifarlabError,), False)
        self.left_out = describe_left_out(refused)
        self.plot = Plots("cifarlab.plots.catalog:SHARED_FIGURES", lambda: self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return RunTable([run.path for run in self._runs[index]])
        return TrainedRun(self._runs[index].path)

    @property
    def frame(self) -> "pd.DataFrame":
        """A row for each run: recipe, seed, data, accuracies (0 to 1), whether it finished."""
        import pandas as pd

        rows = [
            {
                "run": run.name,
                "recipe": run.recipe_name,
                "seed": run.recipe.seed,
                "data": run.data_name,
                "val": run.split("val").get("accuracy"),
                "test": run.split("test").get("accuracy"),
                "finished": run.is_finished,
            }
            for run in self._runs
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        return "\n".join([f"<RunTable of {len(self)} runs>", *self.left_out])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.left_out)
        return self.frame.to_html(float_format=percent) + notes


class ComparisonTable:
    """Recipes beside each other: a row for each, with what may be concluded of it."""

    def __init__(self, comparison: "Comparison", path: Path | None = None) -> None:
        self.comparison = comparison
        self.plot = Plots("cifarlab.experiments.study.figure:FIGURES", lambda: comparison)
        self.path = path

    @property
    def frame(self) -> "pd.DataFrame":
        """A row for each recipe, as the command line prints it."""
        import pandas as pd

        from cifarlab.experiments.study.table import format_rows

        headers, rows = format_rows(self.comparison)
        return pd.DataFrame(rows, columns=list(headers)).set_index("row")

    @property
    def verdicts(self) -> dict[str, str]:
        """What may be concluded of each recipe against the baseline."""
        return {row.name: row.verdict for row in self.comparison.rows}

    def __repr__(self) -> str:
        verdicts = "; ".join(f"{name}: {verdict}" for name, verdict in self.verdicts.items())
        return f"<ComparisonTable with {self.comparison.baseline}: {verdicts}>"

    def _repr_html_(self) -> str:
        return self.frame.to_html()


class SearchTable:
    """A search's trials, the best first, and the recipe of the best."""

    def __init__(self, results: "SearchResults", path: Path) -> None:
        self.results = results
        self.plot = Plots("cifarlab.experiments.search.figures:FIGURES", lambda: results)
        self.path = path

    @property
    def frame(self) -> "pd.DataFrame":
        """A row for each trial, as ``table.csv`` has it."""
        import pandas as pd

        return pd.read_csv(self.path / "table.csv", index_col="rank")

    @property
    def best(self) -> Recipe:
        """The recipe of the best trial. Raises RecipeError where no trial has a score."""
        return from_yaml(self.path / "best.yaml")

    def __repr__(self) -> str:
        best = self.results.best_row
        score = f", best {100 * best.score:.2f} %" if best and best.score is not None else ""
        return f"<SearchTable {self.path}: {len(self.results.rows)} trials{score}>"

    def _repr_html_(self) -> str:
        return self.frame.to_html()


def train(
    recipe: Recipe | str,
    changes: Mapping[str, Any] | None = None,
    *,
    data: Data | None = None,
    run: Path | str | None = None,
    plugins: Sequence[str] = (),
    resume: bool = False,
    callbacks: "Sequence[Callback] | None" = None,
    stop: "StopRequest | None" = None,
    threads: int | None = None,
) -> TrainedRun:
    """Train a recipe, by name, YAML file or value, with settings changed by dotted path.

    ``data`` is a source as the recipe names it, a pair of arrays (uint8 N H W C, labels) or two
    pairs (training, test); arrays are stored beside the run. ``run`` is the folder (default: a new
    one under ``runs``); ``plugins`` are files that this approves. ``resume`` goes on with the run
    in its folder; ``callbacks=()`` is silent; ``stop`` may be set from outside; ``threads`` is how
    many a CPU computes with. Raises every error of cifarlab.system.errors.
    """
    from cifarlab.training.train import train as train_recipe

    recipe = find_recipe(recipe, changes, plugins)
    if data is not None:
        from cifarlab.data.arrays import store_arrays

        is_text = isinstance(data, str | Path)
        source = str(data) if is_text else store_arrays(Path(run).parent if run else RUNS, data)
        recipe = change(recipe, {"data.source": source})
    folder = RunFolder(run) if run else new_folder(recipe)
    session: dict[str, Any] = {"resume": resume, "callbacks": callbacks, "stop": stop}
    train_recipe(recipe, folder, command="cifarlab.train", threads=threads, **session)
    return TrainedRun(folder.path)


def find_recipe(
    recipe: Recipe | str, changes: Mapping[str, Any] | None = None, plugins: Sequence[str] = ()
) -> Recipe:
    """Return a recipe by name or YAML file, with changes and plug-ins. Raises RecipeError."""
    approved = approve_plugins(plugins)
    resolved = find(recipe, approved) if isinstance(recipe, str) else recipe.add_plugins(approved)
    return change(resolved, changes) if changes else resolved


def load_run(path: TrainedRun | Path | str, trust_plugins: bool = False) -> TrainedRun:
    """Open a run folder; ``trust_plugins`` approves its plug-ins, which are then run.

    Raises RunFolderError, RecipeError and PluginError.
    """
    run = path if isinstance(path, TrainedRun) else TrainedRun(path)
    with approve_all_plugins(trust_plugins):
        run.folder.recipe()
    return run


def runs(folder: Path | str = RUNS, trust_plugins: bool = False) -> RunTable:
    """Return all runs at any depth under a folder; ``trust_plugins`` as in ``load_run``."""
    with approve_all_plugins(trust_plugins):
        return RunTable(sorted({file.parent for file in Path(folder).rglob("recipe.yaml")}))


def predict(
    run: TrainedRun | Path | str, images: Any, trust_plugins: bool = False
) -> "pd.DataFrame":
    """Return ``TrainedRun.predict`` of a run or its folder; the rest as in ``load_run``."""
    return load_run(run, trust_plugins).predict(images)


def evaluate(
    run: TrainedRun | Path | str,
    split: str = "val",
    views: int | None = None,
    groups: Path | None = None,
    trust_plugins: bool = False,
) -> Evaluation:
    """Return ``TrainedRun.evaluate`` of a run or its folder; the rest as in ``load_run``."""
    return load_run(run, trust_plugins).evaluate(split, views, groups)


def compare(
    *runs: TrainedRun | Path | str,
    against: str | None = None,
    metric: str = "accuracy",
    trust_plugins: bool = False,
) -> ComparisonTable:
    """Compare finished runs, grouped by recipe and paired by seed; as ``cifarlab compare``.

    ``metric`` is ``macro_f1``, ``log_loss``, ...; ``trust_plugins`` as in ``load_run``.
    """
    from cifarlab.experiments.study.definition import parse_metric
    from cifarlab.experiments.study.outcomes import compare_runs

    names = [str(run.path if isinstance(run, TrainedRun) else run) for run in runs]
    with approve_all_plugins(trust_plugins):
        return ComparisonTable(compare_runs(names, against, metric=parse_metric(metric)))


def study(name: "Study | str", **options: Any) -> ComparisonTable:
    """Run a study by name, YAML file or value, as ``cifarlab study``.

    ``options``: ``n_seeds``, ``scale``, ``only``, ``jobs``, ``resume``, ``data``, ``runs`` (the
    folder), ``formats`` (of the figure), ``log``; see experiments/study/engine.py.
    """
    from cifarlab.experiments.study.definition import find_study
    from cifarlab.experiments.study.engine import run_study

    resolved = find_study(name) if isinstance(name, str) else name
    finished = run_study(resolved, **{"log": print, "command": "cifarlab.study", **options})
    return ComparisonTable(finished.comparison, finished.folder.path)


def search(name: "Search | str", **options: Any) -> SearchTable:
    """Run a search by name, YAML file or value, as ``cifarlab search``.

    ``options``: ``jobs``, ``cluster``, ``max_time``, ``resume``, ``n_seeds``, ``scale``, ``data``,
    ``runs`` (the folder), ``formats`` (of the figures), ``log``; see experiments/search/engine.py.
    """
    from cifarlab.experiments.search.definition import find_search
    from cifarlab.experiments.search.engine import run_search

    resolved = find_search(name) if isinstance(name, str) else name
    finished = run_search(resolved, **{"log": print, "command": "cifarlab.search", **options})
    return SearchTable(finished.results, finished.folder.path)
