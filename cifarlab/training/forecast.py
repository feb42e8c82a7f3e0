"""How long a recipe takes on this machine: its own steps, tried on its data or on made-up images.

Nothing is written, and no run folder is needed.
"""

import gc
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cifarlab.data.dataset import Dataset, Subset
from cifarlab.data.opening import OpenData, open_cached_data
from cifarlab.inference.predictor import batch_size
from cifarlab.recipes.catalog import usual_images, usual_shape
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import choose_compute
from cifarlab.system.device_memory import forget_peak_memory, peak_memory
from cifarlab.system.machine_speed import measure_seconds
from cifarlab.training.memory_fit import find_micro_batches
from cifarlab.training.run import Run, Session
from cifarlab.training.setup import build_run
from cifarlab.training.step import step
from cifarlab.training.workload import count_work, estimate_time, find_kind

_FEW = 16  # images of the first step, which says how many the others can have
_N_LOADED = 4  # batches that are read in a row
_MADE_IMAGES = 2048


class Forecast(NamedTuple):
    """Seconds of a whole run, images/s of its first step's kind, and bytes of a GPU's memory."""

    train_seconds: float
    evaluate_seconds: float
    images_per_second: float
    peak_memory: int | None  # None on a CPU, where a process's peak can't be counted anew
    n_images: int  # that training goes through, each as often as it is shown


@dataclass(frozen=True)
class MadeData(OpenData):
    """Random images, as many and as large as the recipe's usually are; few are distinct."""

    n_training: int
    n_validation: int

    @cached_property
    def _subsets(self) -> tuple[Subset, Subset | None]:
        shape, classes = self.dataset.image_shape, len(self.dataset.classes)
        images = np.random.default_rng(0).integers(0, 256, (_MADE_IMAGES, *shape), dtype=np.uint8)
        labels = np.arange(_MADE_IMAGES) % classes

        def part(n: int) -> Subset:
            return Subset(images, labels, np.sort(np.arange(n) % _MADE_IMAGES))

        return part(self.n_training), part(self.n_validation) if self.n_validation else None


def make_data(recipe: Recipe) -> MadeData:
    """Return images like those that the recipe usually trains on."""
    shape, n_classes = usual_shape(recipe)
    classes, n_training = tuple(map(str, range(n_classes))), usual_images(recipe)
    n_test = recipe.data.source.describe(recipe.data.label_mode).images // 5  # as CIFAR has
    splits = {"train": n_training, "test": n_test}
    dataset = Dataset("made-up", "", classes, shape, "", (), (*splits,), splits, False, Path())
    fraction = recipe.data.val_fraction
    return MadeData(dataset, recipe.data, n_training, round(n_training * fraction / (1 - fraction)))


def forecast(recipe: Recipe, seconds: float) -> Forecast:
    """Return how long the recipe takes here, after trying its steps for about ``seconds``.

    Each kind of step is tried (they differ in the size of the images, in what is selected and in
    what is frozen), on a CPU on fewer images where a whole batch would take too long.

    Raises:
        RecipeError: the recipe can't be built
        DataError: its source is unknown
        OutOfMemoryError: it does not fit
    """
    compute = choose_compute(recipe.training.precision)
    gc.collect()  # an earlier recipe's network
    forget_peak_memory(compute.device)
    data = open_cached_data(recipe.data) or make_data(recipe)
    channels = data.dataset.image_shape[2]
    statistics = [0.5] * channels, [0.5] * channels
    run = build_run(recipe, RunFolder(Path()), data, *statistics, compute, Session())
    find_micro_batches(run)
    work = count_work(run)
    first_steps = {find_kind(run, number): number for number in reversed(range(run.plan.steps))}
    each = seconds / (len(work.n_images) + 1)
    speeds = {kind: _measure_steps(run, first_steps[kind], each) for kind in work.n_images}
    time = estimate_time(
        run, work, lambda kind: 1 / speeds[kind], 1 / _measure_evaluation(run, each)
    )
    memory = None if compute.device.type == "cpu" else peak_memory(compute.device)
    return Forecast(*time, next(iter(speeds.values())), memory, work.n_images.total())


def _measure_steps(run: Run, number: int, seconds: float) -> float:
    """Return images/s of steps like step ``number``, with loader and augmentation."""
    run.state.step = number
    run.state.classifier.train()
    batch = next(run.loader.epoch(0, 0, 1))
    few = batch.select(slice(_FEW))
    per_image = measure_seconds(partial(step, run, few), run.compute, 0.0) / len(few.labels)
    part = batch  # on a GPU, whose memory is measured, too
    if run.compute.device.type == "cpu":  # as many as fit in twice, the first time included
        part = batch.select(slice(max(_FEW, int(seconds / 2 / per_image))))
    step_seconds = measure_seconds(partial(step, run, part), run.compute, seconds / 4)
    sizes = run.plan.batch_sizes[:_N_LOADED]

    def load() -> None:
        for _ in run.loader.epoch(0, 0, len(sizes)):
            pass

    load_seconds = measure_seconds(load, run.compute, seconds / 8)
    return 1 / (step_seconds / len(part.labels) + load_seconds / sum(sizes))


def _measure_evaluation(run: Run, seconds: float) -> float:
    """Return images/s of a prediction."""

    def time_prediction(n: int) -> float:
        images = np.zeros((n, *run.dataset.image_shape), np.uint8)
        return measure_seconds(lambda: run.predictor.logits(images), run.compute, 0.0) / n

    n = int(seconds / 2 / time_prediction(_FEW))
    return 1 / time_prediction(max(_FEW, min(batch_size(run.compute.device), n)))
