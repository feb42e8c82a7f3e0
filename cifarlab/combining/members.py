"""Which runs are combined, and whether they may be: the combined accuracy has to be a true one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cifarlab.data.config import Data
from cifarlab.data.dataset import Log, Progress
from cifarlab.data.opening import OpenData, open_data
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.run_predictor import load_run_predictor
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.run_folder.run_data import dig
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.files import sha256


@dataclass(frozen=True)
class MemberRun:
    """A finished run that is combined with others."""

    folder: RunFolder
    recipe: Recipe
    predictor: Predictor
    weights_sha256: str
    val_accuracy: float | None
    train_seconds: float | None
    predictions: dict[str, Predictions] = field(default_factory=dict)  # made here, by split

    @classmethod
    def load(cls, folder: RunFolder) -> "MemberRun":
        """Load a run.

        Raises:
            RunFolderError: it has not finished
            UserError: it is a combination of others
            CifarlabError: its recipe or weights can't be read
        """
        result = folder.require().result()
        if result is None:
            what = f"the run in {folder.path} has not finished"
            raise RunFolderError(what, "finish it with --resume, or leave it out")
        recipe = folder.recipe()
        if recipe.combination:
            raise UserError(f"{folder.path} is a combination itself", "name its members instead")
        digest = sha256(folder.measured_weights())
        seconds = dig(result, "cost", "train_seconds")
        accuracy = dig(result, "val", "accuracy")
        return cls(folder, recipe, load_run_predictor(folder), digest, accuracy, seconds)

    def facts(self) -> dict[str, Any]:
        """Return what the provenance says of it."""
        return {
            "run": str(self.folder.path.resolve()),
            "fingerprint": fingerprint(self.recipe),
            "seed": self.recipe.seed,
            "weights_sha256": self.weights_sha256,
        }


@dataclass(frozen=True)
class MemberRuns:
    """Runs that may be combined, their shared images, and whether all trained on the same ones.

    ``choices`` say of each study why these are its runs, see ``find_runs``.
    """

    runs: list[MemberRun]
    data: OpenData
    same_training_images: bool
    choices: list[dict[str, Any]] = field(default_factory=list)

    @property
    def first(self) -> MemberRun:
        """The run whose recipe the combination takes."""
        return self.runs[0]

    def facts(self) -> dict[str, Any]:
        """Return what a combination's provenance and result say of them."""
        members = [run.facts() for run in self.runs]
        facts: dict[str, Any] = {"choices": self.choices} if self.choices else {}
        return {"members": members, "same_training_images": self.same_training_images, **facts}


def load_members(
    folders: Sequence[RunFolder],
    progress: Progress | None = None,
    log: Log | None = None,
    choices: Sequence[dict[str, Any]] = (),
) -> MemberRuns:
    """Load runs that are to be combined.

    Args:
        folders: of the runs
        progress: called while data are read
        log: called with a line that describes the data
        choices: of the studies whose runs these are

    Raises:
        UserError: there are less than two, a run is there twice, or they differ in classes, sizes,
            images, held-out images, arithmetic or
            views
        RunFolderError: one has not finished, or its data were changed
        CifarlabError: a recipe, weights or data can't be read
    """
    runs = [MemberRun.load(folder) for folder in folders]
    if len(runs) < 2:
        raise UserError("one run alone is not combined", "name two or more, or a study")
    if len({run.weights_sha256 for run in runs}) < len(runs):
        raise UserError("two of these runs have the same weights", "name each run once")
    first = runs[0]
    data = open_data(first.recipe.data, progress, log)
    first.folder.require_same_data(data.dataset.fingerprint)
    same_training_images = True
    for run in runs[1:]:
        _require_same_form(first, run)
        other = _open_again(data, run.recipe.data, progress)
        run.folder.require_same_data(other.dataset.fingerprint)
        _require_same_images(first, run, data, other)
        ours, theirs = data.training, other.training
        same_training_images &= np.array_equal(ours.indices, theirs.indices) and np.array_equal(
            ours.labels[ours.indices], theirs.labels[theirs.indices]
        )
    return MemberRuns(runs, data, same_training_images, list(choices))


def _open_again(data: OpenData, other: Data, progress: Progress | None) -> OpenData:
    """Return another recipe's images; a source that is open is not opened again."""
    ours, theirs = ((d.source, d.label_mode, d.images) for d in (data.data, other))
    return OpenData(data.dataset, other) if ours == theirs else open_data(other, progress)


def _views(run: MemberRun) -> tuple[float | None, ...]:
    evaluation = run.recipe.evaluation
    return evaluation.tta_views, evaluation.tta_fraction, evaluation.tta_threshold


def _require_same_form(first: MemberRun, run: MemberRun) -> None:
    """Raise UserError where two networks do not answer the same question in the same way."""
    ours, theirs = first.predictor, run.predictor
    by_image = [m.recipe.data.normalization == "image" for m in (first, run)]
    for name, differs, hint in (
        ("other classes", ours.classes != theirs.classes, "combine runs on the same data"),
        ("another image size", ours.image_shape != theirs.image_shape, "combine runs of one size"),
        ("another data.normalization", by_image[0] != by_image[1], "all with image, or none"),
        (
            "another arithmetic",
            ours.compute.precision != theirs.compute.precision,
            "train all with the same training.precision",
        ),
        (
            "other test-time views",
            _views(first) != _views(run),
            "combine runs with the same evaluation.tta_views, tta_fraction and tta_threshold: the "
            "gain would be that of more views",
        ),
    ):
        if differs:
            raise UserError(f"{run.folder.path} has {name} than {first.folder.path}", hint)


def _require_same_images(first: MemberRun, run: MemberRun, data: OpenData, other: OpenData) -> None:
    """Raise UserError where what one run is measured on may have trained the other."""
    names = f"{run.folder.path} and {first.folder.path}"
    if data.dataset.fingerprint != other.dataset.fingerprint:
        raise UserError(f"{names} were trained on other data", "combine runs on the same data")
    if not data.has_same_validation(other):
        raise UserError(
            f"{names} held out other images: what one of them is measured on has trained the "
            "other, and the accuracy of both together would be false",
            "combine runs with the same data.val_fraction and data.split_seed",
        )
    if not data.has_same_test(other):
        what = f"{names} cut off other test images: those of one have trained the other"
        raise UserError(what, "combine runs with the same data.test_fraction and data.split_seed")
