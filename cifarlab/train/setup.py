"""From a recipe to a run that is ready to train: data, network, state, folder."""

import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import torch
from torch import nn

import cifarlab
from cifarlab.compute import Compute, choose, forget_peak_memory, library_versions
from cifarlab.data import (
    Dataset,
    Subset,
    channel_statistics,
    open_dataset,
    training_subsets,
)
from cifarlab.data.augment import Augmentation, Sizes, sizes_by_step
from cifarlab.data.dataset import Progress
from cifarlab.data.loader import Loader
from cifarlab.errors import CheckpointError, RecipeError
from cifarlab.evaluate import Predictor, WeightsFile
from cifarlab.models import (
    Classifier,
    adapt_to_passes,
    build_body,
    parameter_roles,
    stages,
    whitening_images,
)
from cifarlab.optim import build_averaging, build_optimizer
from cifarlab.randomness import derived_seed, generator
from cifarlab.recipe import Recipe
from cifarlab.run import RunFolder
from cifarlab.train.checkpoint import Checkpoints
from cifarlab.train.clock import Clock
from cifarlab.train.plan import Plan, plan
from cifarlab.train.state import State, Totals


@dataclass
class Run:
    """All that the loop needs; only ``state`` and ``clock`` change.

    ``network`` is the state's classifier as training calls it, compiled or not. ``sizes`` are the
    recipe's image sizes by step; from step ``select_from`` on, examples are selected; ``frozen``
    has what is no longer trained from which step on.
    """

    recipe: Recipe
    folder: RunFolder
    command: str
    compute: Compute
    dataset: Dataset
    loader: Loader
    validation: Subset | None
    plan: Plan
    sizes: Sizes
    select_from: int
    frozen: list[tuple[int, list[nn.Parameter]]]
    state: State
    network: Classifier
    checkpoints: Checkpoints
    clock: Clock
    notes: list[str] = field(default_factory=list)

    @property
    def predictor(self) -> Predictor:
        """The classifier in its present state."""
        dataset = self.dataset
        return Predictor(self.state.evaluated, dataset.classes, dataset.image_shape, self.compute)

    @property
    def about(self) -> WeightsFile:
        """What a weights file of the present state says."""
        return WeightsFile(
            self.recipe.model,
            self.dataset.classes,
            self.dataset.image_shape,
            self.compute.precision,
            self.state.epoch,
            self.state.step,
        )


def prepare(
    recipe: Recipe, folder: RunFolder, *, resume: bool, command: str, progress: Progress | None
) -> Run:
    """Build a run in its folder, or load the one that is there.

    Raises RecipeError, DataError, RunFolderError, CheckpointError or StorageError.
    """
    compute = choose(_precision(recipe, folder))
    forget_peak_memory(compute.device)
    dataset = open_dataset(
        recipe.data.source,
        labels=recipe.data.labels,
        images=recipe.data.images,
        progress=progress,
    )
    training, validation = training_subsets(dataset, recipe.data)
    augmentation = Augmentation(recipe.augment, dataset.image_shape, recipe.seed)
    loader = Loader(training, augmentation, recipe.training.batch_size, recipe.seed, compute.device)
    mean, std = normalisation(recipe, training, dataset.image_shape[2])
    state = initial_state(recipe, dataset, training, mean, std, compute)
    length = plan(recipe.training, loader.steps_per_epoch)
    per_epoch, planned = loader.steps_per_epoch, length.segments[0].steps
    run = Run(
        recipe=recipe,
        folder=folder,
        command=command,
        compute=compute,
        dataset=dataset,
        loader=loader,
        validation=validation,
        plan=length,
        sizes=sizes_by_step(recipe.augment.sizes, per_epoch, planned),
        select_from=recipe.training.selection.start.in_steps(per_epoch, planned),
        frozen=frozen(recipe, state.classifier, per_epoch, planned),
        state=state,
        network=compute.compiled(state.classifier),
        checkpoints=Checkpoints(folder),
        clock=Clock(compute, state.seconds),
    )
    if resume:
        _load(run)
    else:
        folder.write_recipe(recipe)
    _record_start(run, mean, std)
    return run


def initial_state(
    recipe: Recipe,
    dataset: Dataset,
    training: Subset,
    mean: list[float],
    std: list[float],
    compute: Compute,
) -> State:
    """Freshly initialised weights, the same on every device."""
    torch.manual_seed(derived_seed(recipe.seed, "initialisation"))
    body = build_body(recipe.model, dataset.image_shape, len(dataset.classes))
    classifier = Classifier(body, mean, std)
    if count := whitening_images(recipe.model):
        classifier.fit_whitening(_sample(training, count, recipe.seed))
    batch = min(recipe.training.batch_size, len(training))
    trained = selected(batch, recipe.training.selection.share)
    adapt_to_passes(classifier, passes(trained, recipe.training.micro_batch))
    classifier = classifier.to(compute.device)
    optimizer = build_optimizer(recipe.optimizer, parameter_roles(classifier), compute.precision)
    averager = build_averaging(recipe.averaging, classifier)
    return State(classifier, optimizer, Totals.zero(compute.device), averager)


def frozen(
    recipe: Recipe, classifier: Classifier, per_epoch: int, planned: int
) -> list[tuple[int, list[nn.Parameter]]]:
    """The recipe's ``training.freeze`` as (first step, parameters of the frozen stages).

    Raises RecipeError for more stages than the network has.
    """
    parts = stages(classifier)
    for place, freeze in enumerate(recipe.training.freeze):
        if freeze.stages > len(parts):
            raise RecipeError(
                f"training.freeze.{place}.stages={freeze.stages}: this network has {len(parts)}",
                f"take at most {len(parts)}",
            )
    return [
        (freeze.start.in_steps(per_epoch, planned), list(chain(*parts[: freeze.stages])))
        for freeze in recipe.training.freeze
    ]


def passes(images: int, micro_batch: int | None) -> int:
    """Forward and backward passes for a batch; none has fewer than two images."""
    if micro_batch is None:
        return 1
    return max(1, min(-(-images // micro_batch), images // 2))


def selected(images: int, share: float) -> int:
    """How many of a batch are trained on once examples are selected."""
    return min(images, max(2, round(share * images)))


def _sample(training: Subset, count: int, seed: int) -> np.ndarray:
    """At most ``count`` training images (N, H, W, C), drawn by the seed."""
    order = torch.randperm(len(training), generator=generator(seed, "whitening"))
    return training.images[training.indices[order[:count].sort().values.numpy()]]


def normalisation(
    recipe: Recipe, training: Subset, channels: int
) -> tuple[list[float], list[float]]:
    """Mean and deviation per channel in units of 0..1, as data.normalisation says."""
    if recipe.data.normalisation == "dataset":
        mean, std = channel_statistics(training)
        # a channel that never varies carries nothing; dividing by its deviation would be NaN
        return [float(m) for m in mean], [float(s) or 1.0 for s in std]
    if recipe.data.normalisation == "half":
        return [0.5] * channels, [0.5] * channels
    return [0.0] * channels, [1.0] * channels


def _precision(recipe: Recipe, folder: RunFolder) -> str:
    """A started run keeps the arithmetic that it started in, wherever it is resumed."""
    if recipe.training.precision != "auto":
        return recipe.training.precision
    return str(folder.provenance().get("precision", "auto"))


def _load(run: Run) -> None:
    run.folder.require_same_data(run.dataset.fingerprint)
    if run.checkpoints.exists():
        run.checkpoints.load_last(run.state)
        if run.state.step > run.plan.steps:
            raise CheckpointError(
                f"the checkpoint is of step {run.state.step}, the run has {run.plan.steps}",
                "restore the recipe that belongs to the checkpoint",
            )
    run.folder.journal.keep_until(run.state.epoch)


def _record_start(run: Run, mean: list[float], std: list[float]) -> None:
    """Write what is known before the first step into provenance.json."""
    provenance = run.folder.provenance()
    made_with = {
        "cifarlab": cifarlab.__version__,
        "commit": _commit(),
        "python": python_version(),
        "libraries": library_versions(),
        "device": run.compute.describe(),
    }
    earlier = provenance.get("starts", [])
    now = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": run.command,
        "step": run.state.step,
        **made_with,
    }
    changed = sorted({k for start in earlier for k, v in made_with.items() if start.get(k) != v})
    if changed:
        run.notes.append(
            f"not all starts of this run had the same {', '.join(changed)}: "
            "its last bits may differ from an uninterrupted run's"
        )
    run.folder.write_provenance(
        {
            **made_with,
            "precision": run.compute.precision,
            "data": _describe_data(run, mean, std),
            "test_openings": [],
            **provenance,
            "starts": [*earlier, now],
        }
    )


def _describe_data(run: Run, mean: list[float], std: list[float]) -> dict[str, Any]:
    dataset = run.dataset
    return {
        "name": dataset.name,
        "source": dataset.source,
        "fingerprint": dataset.fingerprint,
        "classes": dataset.classes,
        "image_shape": dataset.image_shape,
        "train": len(run.loader.indices),
        "val": len(run.validation) if run.validation else 0,
        "mean": mean,
        "std": std,
        "skipped": dataset.skipped,
    }


def _commit() -> str | None:
    """The code's git commit, with ``+`` where files differ from it; None outside a checkout."""
    root = Path(cifarlab.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"]
        return subprocess.run(describe, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
