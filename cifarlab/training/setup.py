"""From a recipe to a run that is ready to train: data, network, state, folder."""

from itertools import chain
from typing import Any

import torch
from torch import nn

from cifarlab.augment.pipeline import Augmentation
from cifarlab.data.dataset import Dataset, Subset
from cifarlab.data.loader import Loader
from cifarlab.data.opening import OpenData, open_data
from cifarlab.data.splits import channel_statistics
from cifarlab.losses.build import build_losses
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.distributed_layers import distribute_layers
from cifarlab.models.layers import batch_norms
from cifarlab.models.network import parameter_roles, stages
from cifarlab.optim.averaging import build_averaging
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import Compute, choose_compute
from cifarlab.system.device_memory import forget_peak_memory
from cifarlab.system.errors import CheckpointError, RecipeError, UserError
from cifarlab.system.processes import SINGLE_PROCESS, Processes
from cifarlab.system.randomness import generator, seed_global
from cifarlab.system.threads import use_threads
from cifarlab.training.checkpoint import Checkpoints
from cifarlab.training.clock import Clock
from cifarlab.training.distillation import load_teacher
from cifarlab.training.plan import BatchPlan, plan_batches
from cifarlab.training.provenance import record_start
from cifarlab.training.run import Run, Session
from cifarlab.training.state import State, Totals


def prepare(recipe: Recipe, folder: RunFolder, session: Session | None = None) -> Run:
    """Build a run in its folder, or load the one that is there. Each process of the run calls it.

    Args:
        recipe: the run's
        folder: where it is written; the main process alone looks into it
        session: how it is trained this time; None: a new run, without callbacks

    Raises every error of cifarlab.system.errors.
    """
    session = session or Session()
    processes, on_main = session.processes, session.processes.broadcast_from_rank0
    provenance = on_main(folder.provenance)
    precision = recipe.training.precision
    # a started run keeps the arithmetic that it started in, wherever it is resumed
    compute = choose_compute(
        provenance.get("precision", "auto") if precision == "auto" else precision
    )
    forget_peak_memory(compute.device)
    threads_note = _use_threads(compute, provenance.get("device", {}), session)
    # of a machine's processes one decodes, the others wait for its lock on the cache
    data = processes.run_in_all(lambda: _open_data(recipe, session))
    channels = data.dataset.image_shape[2]
    mean, std = compute_normalization(recipe, data.training, channels)
    run = build_run(recipe, folder, data, mean, std, compute, session)
    run.threads_note = threads_note
    run.teacher = processes.run_in_all(lambda: load_teacher(recipe, data))
    if session.resume:
        _load(run)
    else:
        on_main(lambda: folder.write_recipe(recipe))
    on_main(lambda: record_start(run, mean, std))
    return run


def build_run(
    recipe: Recipe,
    folder: RunFolder,
    data: OpenData,
    mean: list[float],
    std: list[float],
    compute: Compute,
    session: Session,
) -> Run:
    """Return a run before its first step; nothing is written.

    Args:
        recipe: the run's
        folder: where it would be written
        data: its images
        mean: per channel, in units of 0..1
        std: standard deviation per channel, in units of 0..1
        compute: device and arithmetic
        session: how it is trained this time
    """
    processes, dataset, training = session.processes, data.dataset, data.training
    plan = plan_batches(recipe, len(training), processes)
    augmentation = Augmentation(recipe.augment, dataset.image_shape, recipe.seed)
    options = recipe.seed, compute.device, plan.local_indices, recipe.data.sampler
    loader = Loader(training, augmentation, plan.batch_sizes, *options)
    state = build_state(recipe, dataset, training, mean, std, compute, processes)
    length = plan.steps_per_epoch, plan.planned_steps
    state.averager = build_averaging(recipe.averaging, state.classifier, *length)
    class_counts = training.counts(len(dataset.classes))
    return Run(
        **vars(session),
        recipe=recipe,
        folder=folder,
        checkpoints=Checkpoints(folder),
        compute=compute,
        clock=Clock(compute, state.seconds),
        dataset=dataset,
        validation=data.validation,
        loader=loader,
        plan=plan,
        freeze_schedule=plan_freezing(recipe, state.classifier, plan),
        batch_norms=batch_norms(state.classifier),
        state=state,
        network=compute.compile(state.classifier),
        losses=build_losses(recipe.loss, dataset.classes, class_counts, compute.device),
    )


def _open_data(recipe: Recipe, session: Session) -> OpenData:
    image_size = recipe.training.selective_backprop.image_size
    data = open_data(recipe.data, session.progress)
    smallest = min(data.dataset.image_shape[:2])
    if image_size is not None and image_size >= smallest:
        raise RecipeError(
            f"training.selective_backprop.image_size={image_size} makes no image of {smallest} "
            "pixels smaller",
            f"take less than {smallest}, or leave it out",
        )
    for metric in recipe.metrics:
        metric.check(len(data.dataset.classes))
    return data


def build_state(
    recipe: Recipe,
    dataset: Dataset,
    training: Subset,
    mean: list[float],
    std: list[float],
    compute: Compute,
    processes: Processes = SINGLE_PROCESS,
) -> State:
    """Return the state before the first step: weights are the same on all devices and processes.

    Args:
        recipe: the run's
        dataset: the run's
        training: its training images, from which a whitening layer is fitted
        mean: per channel, in units of 0..1
        std: standard deviation per channel, in units of 0..1
        compute: device and arithmetic
        processes: those of the run
    """
    seed_global(compute.device, recipe.seed, "initialisation")
    body = build_body(recipe.model, dataset.image_shape, len(dataset.classes))
    classifier = Classifier(body, mean, std, by_image=recipe.data.normalization == "image")
    if n_images := classifier.n_whitening_images:
        order = torch.randperm(len(training), generator=generator(recipe.seed, "whitening"))
        indices = training.indices[order[:n_images].sort().values.numpy()]
        classifier.fit_whitening(training.images[indices])
    distribute_layers(classifier, processes)
    classifier = classifier.to(compute.device)
    optimizer = build_optimizer(recipe.optimizer, parameter_roles(classifier), compute.precision)
    return State(classifier, optimizer, Totals.zero(compute.device))


def plan_freezing(
    recipe: Recipe, classifier: Classifier, plan: BatchPlan
) -> list[tuple[int, list[nn.Parameter]]]:
    """Return the recipe's ``training.freeze`` as (first step, parameters of the frozen stages).

    Args:
        recipe: the run's
        classifier: its network
        plan: its batch plan, which turns durations into steps

    Raises:
        RecipeError: there are more stages than the network has, or the list is out of order
    """
    parts, result, last = stages(classifier), [], (-1, 0)
    for index, freeze in enumerate(recipe.training.freeze):
        start = plan.in_steps(freeze.start)
        if freeze.stages > len(parts):
            what = f"training.freeze.{index}.stages={freeze.stages}: this network has {len(parts)}"
            raise RecipeError(what, f"take at most {len(parts)}")
        if start <= last[0] or freeze.stages <= last[1]:
            raise RecipeError(
                f"training.freeze.{index}: {freeze.stages} stages from '{freeze.start}' on are not "
                "both later and more than what stands before",
                "list them by their start, each with more stages than the one before",
            )
        last = start, freeze.stages
        result.append((start, list(chain(*parts[: freeze.stages]))))
    return result


def compute_normalization(
    recipe: Recipe, training: Subset, channels: int
) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel in units of 0..1, as data.normalization says.

    0 and 1 where pixels stay as they are, or each image is normalised by itself.

    Args:
        recipe: the run's
        training: the images that are measured
        channels: their number, C
    """
    if recipe.data.normalization == "dataset":
        mean, std = channel_statistics(training)
        # a channel that never varies carries nothing; dividing by its std would be NaN
        return [float(m) for m in mean], [float(s) or 1.0 for s in std]
    if recipe.data.normalization == "half":
        return [0.5] * channels, [0.5] * channels
    return [0.0] * channels, [1.0] * channels


def _use_threads(compute: Compute, device: dict[str, Any], session: Session) -> str:
    """Set the number of threads of this process, and return a note about it for the user.

    A run that is resumed keeps its number, on which its bits depend; ``device`` is what the
    provenance says of the first start.
    """
    n_threads = session.threads
    if compute.device.type != "cpu":
        if n_threads is not None:
            what = "--threads is of the processor, and this run is on a GPU"
            raise UserError(what, "leave it out")
        return ""
    if session.processes.world_size > 1 and not n_threads:  # torchrun divides the cores
        return ""
    before = device.get("threads") if device.get("type") == "cpu" else None
    return use_threads(n_threads, before).note


def _load(run: Run) -> None:
    on_main, folder = run.processes.broadcast_from_rank0, run.folder
    on_main(lambda: folder.require_same_data(run.dataset.fingerprint))
    if on_main(run.checkpoints.exists):
        run.checkpoints.load_last(run.state, run.processes)
        if run.resume == "best":
            run.checkpoints.load_best(run.state, run.processes, rewind=True)
        if run.state.step > run.plan.steps:
            what = f"the checkpoint is of step {run.state.step}, the run has {run.plan.steps}"
            raise CheckpointError(what, "restore the recipe that belongs to the checkpoint")
    on_main(lambda: folder.metrics.keep_until(run.state.epoch))
