"""Runs in Python: train, load, predict and measure one, or hold many as a table.

Whatever the command line made can be loaded here, and the other way round. Nothing here imports
torch before it trains or predicts.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cifarlab.api.views import Evaluation, Plots
from cifarlab.config.plugins import (
    Plugin,
    approve_plugins,
    decisive_plugins,
    plugin_errors,
    plugin_session,
)
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder import RUNS
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import read_entry
from cifarlab.run_folder.naming import new_folder
from cifarlab.run_folder.run_data import RunData, describe_left_out, read_readable_runs, read_runs
from cifarlab.run_folder.selection import select_runs
from cifarlab.system.errors import CifarlabError
from cifarlab.system.formatting import percent

if TYPE_CHECKING:
    import pandas as pd

    from cifarlab.exporting.export_run import ExportedFile
    from cifarlab.system.signals import StopRequest
    from cifarlab.training.callback import Callback

Data = str | Path | tuple[Any, Any]  # a source, (images, labels), or two pairs: training, test


class TrainedRun:
    """One run: its numbers, its history, its network, and under ``plot`` its report's figures.

    Each look at it reads the folder anew, so that a run can be watched while it trains.
    """

    def __init__(self, path: Path | str) -> None:
        self._name = str(path)
        self.folder = RunFolder(Path(path).absolute()).require()  # it stays after a chdir
        self.plot = Plots("cifarlab.plots.catalog:FIGURES", lambda: self._read(predictions=True))

    @property
    def path(self) -> Path:
        """Return the run folder."""
        return self.folder.path

    def _read(self, predictions: bool = False) -> RunData:
        return read_runs([self.path], predictions)[0]

    @property
    def recipe(self) -> Recipe:
        """Return everything that decided the outcome."""
        return self._read().recipe

    @property
    def accuracy(self) -> float | None:
        """Return the accuracy on test, 0 to 1; on val without a test; None before the end."""
        run = self._read()
        return run.split(run.split_name).get("accuracy")

    @property
    def result(self) -> dict[str, Any]:
        """Return the content of ``result.json``; empty for a run that has not finished."""
        return self._read().result

    @property
    def history(self) -> "pd.DataFrame":
        """Return a row for each epoch, with ``epoch``, ``lr``, ``train.loss``, ..."""
        import pandas as pd

        return pd.json_normalize(self._read().lines)

    @plugin_errors()
    def predict(self, images: Any, resize_mode: str | None = None) -> "pd.DataFrame":
        """Return the probability of each class, a row for each image.

        Args:
            images: files and folders, or an array uint8 (N, H, W, C) or (N, H, W)
            resize_mode: how images of another size are resized: ``crop``, ``pad`` or ``stretch``;
                the recipe's way where it is left out

        Raises:
            UserError: there is no such ``resize_mode``
            DataError: no images, or none that can be read
            CheckpointError: the weights are missing or damaged
        """
        import pandas as pd

        from cifarlab.inference.run_predictor import predict_images

        images = [images] if isinstance(images, str | Path) else images
        answer = predict_images(self.folder, images, resize_mode)
        return pd.DataFrame(answer.probabilities, answer.ids, list(answer.classes))

    @plugin_errors()
    def predict_sets(
        self, images: Any, coverage: float = 0.9, resize_mode: str | None = None
    ) -> "pd.DataFrame":
        """Return whether each class is in the image's set, bool, a row for each image.

        Args:
            images: as in ``predict``
            coverage: the fraction of images whose set has their true class, between 0 and 1
            resize_mode: as in ``predict``

        Raises:
            UserError: the coverage is not between 0 and 1, or there is no such ``resize_mode``
            DataError: as in ``predict``, or the run has no validation images, or too few
            CheckpointError: the weights are missing or damaged
        """
        import pandas as pd

        from cifarlab.inference.run_predictor import RunPredictor

        predictor = RunPredictor(self.folder, resize_mode, coverage)
        images = [images] if isinstance(images, str | Path) else images
        answer = predictor.predict(predictor.read(images))
        assert answer.conformal
        sets = answer.conformal.sets(answer.probabilities)
        return pd.DataFrame(sets, answer.ids, list(answer.classes))

    @plugin_errors()
    def evaluate(
        self,
        split: str = "val",
        tta_views: int | None = None,
        groups: Path | None = None,
        coverage: float | None = None,
    ) -> "Evaluation":
        """Measure a split anew, without a change to the run's result.

        Args:
            split: ``val`` or ``test``, whose opening is recorded
            tta_views: test-time views, 1, 2, 6 or 10; the recipe's where it is left out
            groups: a YAML file with groups of classes, which are measured, too
            coverage: of sets of classes, which are measured on ``test``, too; under ``sets``

        Raises:
            UserError: the run has no such split, or another argument is refused
            DataError: the data can't be opened
            RunFolderError: the data are not those that the run was trained on
            CheckpointError: the weights are missing or damaged
        """
        from cifarlab.evaluation.run_evaluation import evaluate_run

        scores, data = evaluate_run(self.folder, split, tta_views, groups, coverage)
        return Evaluation(split=split, data=data, **scores)

    @plugin_errors()
    def export(
        self,
        to: str = "onnx",
        quantize: str | None = None,
        margin: float | None = None,
        test: bool = False,
        out: Path | str | None = None,
    ) -> "ExportedFile":
        """Export the network to one file, certified to be what was measured.

        Args:
            to: as in ``cifarlab.export``, and so the others
            quantize: ``int8`` or None
            margin: points of accuracy that a quantized network may lose; None: 0.3
            test: compare on the test images
            out: a folder
        """
        from cifarlab.exporting.export_run import export_run

        folder = Path(out) if out else None
        return export_run(self.path, to, quantize, margin, test=test, out=folder)

    def __repr__(self) -> str:
        run = self._read()
        state = f"{run.last_epoch} epochs so far"
        if run.split_name:
            state = f"{run.split_name} accuracy {percent(run.split(run.split_name)['accuracy'])}"
        return f"<TrainedRun {self._name}: {run.recipe_name} on {run.data_name}, {state}>"

    def _repr_html_(self) -> str:
        return RunTable([self.path])._repr_html_()


class RunTable(Sequence[TrainedRun]):
    """Runs beside each other: a sequence of ``TrainedRun``, and ``frame``, a data frame."""

    left_out: list[str]  # a sentence about each run that can't be read

    def __init__(self, paths: Sequence[Path | str]) -> None:
        self._runs, errors = read_readable_runs([*map(Path, paths)], (CifarlabError,), False)
        self.left_out = describe_left_out(dict(sorted(errors.items())))
        self.plot = Plots("cifarlab.plots.catalog:SHARED_FIGURES", lambda: self._runs)

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return RunTable([run.path for run in self._runs[index]])
        return TrainedRun(self._runs[index].path)

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each run, with recipe, seed, data, accuracies (0 to 1), if it finished.

        Seeds of one recipe on the same images have the same ``group``.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "run": run.name,
                "recipe": run.recipe_name,
                "seed": run.recipe.seed,
                "data": run.data_name,
                "val": run.split("val").get("accuracy"),
                "test": run.split("test").get("accuracy"),
                "finished": run.is_finished,
                "group": read_entry(run.path, run.name).group,
            }
            for run in self._runs
        )

    def __repr__(self) -> str:
        return "\n".join([f"<RunTable of {len(self)} runs>", *self.left_out])

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{escape(note)}</p>" for note in self.left_out)
        return f"{self.frame.to_html(float_format=percent)}{notes}"


AnyRun = TrainedRun | Path | str  # or its folder


@plugin_errors()
def train(
    recipe: Recipe | str,
    changes: Mapping[str, Any] | None = None,
    *,
    data: Data | None = None,
    run: Path | str | None = None,
    plugins: Sequence[str] = (),
    resume: bool = False,
    callbacks: "Sequence[Callback | str] | None" = None,
    stop: "StopRequest | None" = None,
    threads: int | None = None,
    trust_plugins: bool = False,
) -> TrainedRun:
    """Train a recipe.

    Args:
        recipe: its name, YAML file or value
        changes: settings by dotted path, such as ``{"optimizer.lr": 0.05}``
        data: a source as the recipe names it, a pair of arrays (images uint8 (N, H, W, C), labels
            (N,)) or two pairs (training, test); arrays are stored beside the run
        run: the run folder; without it, a new one under ``runs``
        plugins: files with kinds of your own; naming them here approves them
        resume: go on with the run in its folder
        callbacks: what watches the run, each a ``Callback`` or, as for ``--callback``, a kind with
            its settings: ``"wandb:project=digits"``; ``()`` for none, and nothing printed
        stop: a request that may be set from outside
        threads: how many a CPU computes with; without it, as many as there are free cores
        trust_plugins: approve the plug-ins that the recipe brings

    Raises:
        CifarlabError: any of cifarlab.system.errors
    """
    from cifarlab.combining.record import complete_record
    from cifarlab.training.train import train as train_recipe

    recipe = find_recipe(recipe, changes, plugins, trust_plugins)
    files = (*recipe.plugins, *approve_plugins(plugins))
    built = None if callbacks is None else [_build_callback(each, files) for each in callbacks]
    if data is not None:
        from cifarlab.data.arrays import store_arrays

        is_text = isinstance(data, str | Path)
        source = str(data) if is_text else store_arrays(Path(run).parent if run else RUNS, data)
        recipe = change(recipe, {"data.source": source})
    folder = RunFolder(run) if run else new_folder(recipe)
    train_recipe(recipe, folder, resume=resume, callbacks=built, stop=stop, threads=threads)
    complete_record(folder, "cifarlab.train")
    return TrainedRun(folder.path)


def _build_callback(callback: "Callback | str", plugins: Sequence[Plugin]) -> "Callback":
    """Return a callback that may be given by its kind."""
    from cifarlab.training.callbacks import name_callbacks

    if not isinstance(callback, str):
        return callback
    (built,) = name_callbacks([callback], plugins).build_callbacks()
    return built


def find_recipe(
    recipe: Recipe | str,
    changes: Mapping[str, Any] | None = None,
    plugins: Sequence[str] = (),
    trust_plugins: bool = False,
) -> Recipe:
    """Return a recipe with changes and plug-ins.

    Args:
        recipe: its name, YAML file or value
        changes: settings by dotted path
        plugins: files with kinds of your own; naming them here approves them
        trust_plugins: approve the plug-ins that the recipe brings

    Raises:
        RecipeError: there is no such recipe, or a key or value is refused
        PluginError: a plug-in is missing, not approved or fails
    """
    with plugin_session(plugins, trust_plugins) as files:
        files = decisive_plugins(files)
        resolved = find(recipe, files) if isinstance(recipe, str) else recipe.add_plugins(files)
        return change(resolved, changes) if changes else resolved


def load_run(path: AnyRun, trust_plugins: bool = False) -> TrainedRun:
    """Open a run folder; ``trust_plugins`` approves its plug-ins, which are then run.

    Raises:
        RunFolderError: it is no run folder, or damaged
        RecipeError: its recipe is damaged
        PluginError: a plug-in is missing, not approved or fails
    """
    run = path if isinstance(path, TrainedRun) else TrainedRun(path)
    with plugin_session((), trust_plugins):
        run.folder.recipe()
    return run


def runs(
    folder: Path | str = RUNS, where: str = "", sort: str = "run", trust_plugins: bool = False
) -> RunTable:
    """Return the runs at any depth under a folder for which a condition holds.

    Args:
        folder: the folder of the runs
        where: such as ``"optimizer.lr > 0.01 and test > 0.9"``; empty for all
        sort: the key that they are sorted by; with a minus before it, the largest first
        trust_plugins: as in ``load_run``

    Raises:
        UserError: the condition can't be read, or no run has one of the keys
        RunFolderError: there is no such folder
    """
    selection = select_runs(Path(folder), where, sort, writes=False)
    damaged_runs = [run for run in selection.listing.runs if run.problem]  # the table says why
    with plugin_session((), trust_plugins):
        entries = [*selection.runs, *damaged_runs]
        return RunTable([selection.runs_index.root / run.url_path for run in entries])


def predict(
    run: AnyRun, images: Any, resize_mode: str | None = None, trust_plugins: bool = False
) -> "pd.DataFrame":
    """Return the probability of each class, a row for each image.

    Args:
        run: a run or its folder
        images: as in ``TrainedRun.predict``
        resize_mode: as in ``TrainedRun.predict``
        trust_plugins: as in ``load_run``
    """
    return load_run(run, trust_plugins).predict(images, resize_mode)


def evaluate(
    run: AnyRun,
    split: str = "val",
    tta_views: int | None = None,
    groups: Path | None = None,
    coverage: float | None = None,
    trust_plugins: bool = False,
) -> Evaluation:
    """Measure a split of a run's data anew.

    Args:
        run: a run or its folder
        split: as in ``TrainedRun.evaluate``, and so ``tta_views``, ``groups`` and ``coverage``
        tta_views: test-time views
        groups: a YAML file with groups of classes
        coverage: that of sets of classes
        trust_plugins: as in ``load_run``
    """
    return load_run(run, trust_plugins).evaluate(split, tta_views, groups, coverage)
