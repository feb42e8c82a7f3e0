"""A run's files as one value: reports, figures and comparisons read the disk nowhere else."""

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.metrics.kinds import MetricFacts
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.audit_findings import Audit
from cifarlab.run_folder.explained import CaptionedFigure, read_explanations
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.naming import add_number
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.errors import CheckpointError, CifarlabError, RunFolderError
from cifarlab.system.formatting import number

_LOGGED = {"log_loss": "loss"}  # metrics that all logs have, under another name
SPLIT_NAMES = {"test": "test", "val": "validation"}  # as texts call them


@dataclass(frozen=True)
class EpochLines:
    """The lines of a metrics log, oldest first, and what can be read off them."""

    lines: list[dict[str, Any]]

    def best_by(self, metric: MetricFacts) -> tuple[int, float] | None:
        """Return the epoch with the best value of a metric in the metrics log, and the value.

        None where the log does not have it. The log has log_loss in all runs, as ``loss``.
        """
        curve = self.curve("val", _LOGGED.get(metric.name, metric.name))
        if np.isnan(curve).all():
            return None
        index = int(np.nanargmax(metric.sign * curve))
        return self.lines[index]["epoch"], float(curve[index])

    @property
    def last_epoch(self) -> int:
        """Return the newest epoch in the metrics log, 0 before the first ends."""
        return int(self.lines[-1]["epoch"]) if self.lines else 0

    def curve(self, *keys: str) -> np.ndarray:
        """Return one metrics log value by epoch, float64 (E,); NaN where it is absent."""
        values = [number(dig(line, *keys)) for line in self.lines]
        return np.array([np.nan if value is None else value for value in values], dtype=float)

    @property
    def epochs(self) -> np.ndarray:
        """Return the metrics log's epochs, int64 (E,)."""
        return np.array([line["epoch"] for line in self.lines], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class RunData(EpochLines):
    """One run as it lies on the disk; ``result`` is empty for an unfinished one.

    ``slug`` names its figure files and is unique in a report. ``predictions`` are those of the
    ``predicted_split``; where they can't be read, or the weights are not those of the result,
    ``problem`` says so. ``tensor_stats`` has the lines of training/tensor_stats.py,
    ``explanations`` the figures of ``cifarlab explain``, ``full_evaluation`` the result of
    ``evaluate --full``, of test before validation, ``audit`` the findings of ``cifarlab audit``,
    with its ``audit_images``; all empty where these commands did not run.
    """

    path: Path
    slug: str
    recipe: Recipe
    provenance: dict[str, Any]
    result: dict[str, Any]
    is_finished: bool
    predicted_split: str | None = None
    predictions: Predictions | None = None
    problem: str | None = None
    tensor_stats: list[dict[str, Any]] = field(default_factory=list)
    explanations: list[CaptionedFigure] = field(default_factory=list)
    full_evaluation: dict[str, Any] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    audit_images: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return the folder's name."""
        return self.path.resolve().name

    @property
    def recipe_name(self) -> str:
        """Return the recipe's label."""
        return str(self.result.get("recipe") or self.recipe.name)

    @property
    def data_name(self) -> str:
        """Return the name of the data, which stands beside every accuracy."""
        name = self.result.get("data") or dig(self.provenance, "data", "name")
        return str(name or self.recipe.data.source)

    @property
    def early_end(self) -> str:
        """Return how a finished run was ended early (describe_early_end), or an empty text."""
        return describe_early_end(self.result) if self.is_finished else ""

    @property
    def is_complete(self) -> bool:
        """Return whether the run came to the end that its recipe plans."""
        return self.is_finished and not self.early_end

    @property
    def split_name(self) -> str | None:
        """Return the split whose figures are shown: test, else val, else none."""
        return next((name for name in SPLIT_NAMES if self.split(name)), None)

    def split(self, name: str | None) -> dict[str, Any]:
        """Return the result on one split, empty if it was not measured."""
        split = dig(self.result, name) if name in SPLIT_NAMES else None
        return split if isinstance(split, dict) else {}

    @property
    def best(self) -> tuple[int, float] | None:
        """Return the best epoch (so far, for an unfinished run) and its validation accuracy."""
        epoch = dig(self.result, "best", "epoch")
        if not isinstance(epoch, int):
            epoch, _ = self.best_by(self.recipe.evaluation.metric.facts) or (0, 0.0)
        values = dict(zip(self.epochs.tolist(), self.curve("val", "accuracy"), strict=True))
        accuracy = float(values.get(epoch, np.nan))
        return None if np.isnan(accuracy) else (epoch, accuracy)


def dig(tree: Any, *keys: Any) -> Any:
    """Return the value at a path of keys, None where the path ends early."""
    for key in keys:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(key)
    return tree


def as_rows(rows: Any) -> list[dict[str, Any]]:
    """Return the mappings in a list; what is no list has none."""
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def read_runs(paths: Sequence[Path], predictions: bool = True) -> list[RunData]:
    """Read each folder once, in this order; ``predictions``: with the large arrays.

    Raises:
        RunFolderError: a folder is no run's, or damaged
        RecipeError: a recipe is damaged
        PluginError: a plug-in is missing, not approved or fails
    """
    return read_readable_runs(paths, (), predictions)[0]


def read_readable_runs(
    paths: Sequence[Path], refusals: tuple[type[CifarlabError], ...], predictions: bool = True
) -> tuple[list[RunData], dict[Path, CifarlabError]]:
    """Read the runs that can be read, as ``read_runs`` does.

    Args:
        paths: run folders
        refusals: classes of errors that leave a run out instead of being raised
        predictions: whether the large arrays are read, too

    Returns:
        The runs, and by path the error of each that is left out.
    """
    runs: list[RunData] = []
    left_out: dict[Path, CifarlabError] = {}
    for path in dict.fromkeys(Path(p).resolve() for p in paths):
        base = re.sub(r"[^\w.+-]+", "-", path.name, flags=re.ASCII).strip("-.") or "run"
        slugs = {run.slug for run in runs}
        slug = next(slug for n in count(1) if (slug := add_number(base, n)) not in slugs)
        try:
            runs.append(_read_run(path, slug, predictions))
        except refusals as error:
            left_out[path] = error
    return runs, left_out


def describe_left_out(left_out: Mapping[Path, CifarlabError]) -> list[str]:
    """Return a sentence about each run that ``read_readable_runs`` left out."""
    return [f"{p.name} is left out: {e.what}; {e.hint}." for p, e in left_out.items()]


def _read_run(path: Path, slug: str, predictions: bool) -> RunData:
    folder = RunFolder(path).require()
    run = RunData(
        path=path,
        slug=slug,
        recipe=folder.recipe(),
        provenance=folder.provenance(),
        result=folder.result() or {},
        is_finished=folder.is_finished,
        lines=folder.metrics.read(),
        full_evaluation=next(filter(None, map(folder.evaluation, SPLIT_NAMES)), {}),
        audit=Audit(folder.audit).findings() or {},
    )
    return _with_predictions(run, folder) if predictions else run


def _with_predictions(run: RunData, folder: RunFolder) -> RunData:
    """Add the large arrays and figures; those that are damaged are left out, with a ``problem``."""
    files = (folder.predictions / f"{split}.safetensors" for split in SPLIT_NAMES)
    file = next(filter(Path.exists, files), None)
    predictions: Predictions | None = None
    problem, tensor_stats = None, []
    try:
        predictions = Predictions.read(file) if file else None
        folder.measured_weights()
    except (RunFolderError, CheckpointError) as error:
        what = error.what.replace(f"{folder.predictions}{os.sep}", "")
        problem = f"{what.replace(f'{folder.path}{os.sep}', '')}; {error.hint}"
    with suppress(RunFolderError):
        tensor_stats = folder.tensor_stats.read()
    return replace(
        run,
        predicted_split=file.stem if file else None,
        predictions=predictions,
        problem=problem,
        tensor_stats=tensor_stats,
        explanations=read_explanations(folder),
        audit_images=Audit(folder.audit).images(),
    )
