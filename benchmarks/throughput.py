"""Training speed of ResNet-18 at batch 128: the usual way, cifarlab's loop, the bare step.

    CIFARLAB_DATA=../shared/data python benchmarks/throughput.py

(a) the usual way: float32, contiguous NCHW, PIL transforms per image in a DataLoader with two
    workers, the loss read at each step, as in the common CIFAR-10 scripts;
(b) cifarlab: ``train.loop.fit`` with loader, augmentation, clocks and journal, in the arithmetic
    that ``cifarlab check`` chooses. Its time is the whole of ``fit`` for those steps, without the
    checkpoint, which here comes every few steps instead of once an epoch: its seconds are
    reported apart. Nothing is held out (data.validation=0);
(c) the bare step: the same network, arithmetic and layout on one fixed batch.

The three take turns within one process; medians of the repeats. Bars: b/a 2.4, b/c 0.97.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _results import write_result
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from cifarlab.compute import choose
from cifarlab.data import open_dataset, training_subsets
from cifarlab.models import build_body
from cifarlab.optim import Segment, build_optimizer
from cifarlab.recipe import Recipe, change
from cifarlab.recipes import find
from cifarlab.run import RunFolder
from cifarlab.train.interrupt import Stop
from cifarlab.train.loop import fit
from cifarlab.train.plan import Epoch, Plan
from cifarlab.train.setup import Run, prepare

BATCH, STEPS, REPEATS = 128, 16, 7
SHAPE, CLASSES = (32, 32, 3), 10
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class PilImages(Dataset[tuple[Tensor, int]]):
    """One image at a time: pad 4, random crop, random flip, to tensor, normalise."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels
        self.mean, self.std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = ImageOps.expand(Image.fromarray(self.images[index]), 4)
        left, top = (int(torch.randint(0, 9, ())) for _ in range(2))
        image = image.crop((left, top, left + 32, top + 32))
        if torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return (pixels.float().div(255) - self.mean) / self.std, int(self.labels[index])


def usual_way(recipe: Recipe) -> Callable[[], float]:
    """Images/s of one pass over STEPS batches, after the workers delivered the first."""
    dataset = open_dataset(recipe.data.source)
    train, _ = training_subsets(dataset, recipe.data)
    count = (STEPS + 1) * BATCH
    pil = PilImages(np.array(train.images[train.indices[:count]]), train.labels[train.indices])
    loader = DataLoader(
        pil, BATCH, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
    )
    network = build_body(recipe.model, SHAPE, CLASSES).to(memory_format=torch.contiguous_format)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4)

    def measure() -> float:
        batches, running = iter(loader), 0.0
        step(network, optimizer, next(batches))
        start = time.perf_counter()
        for batch in batches:
            running += step(network, optimizer, batch).item()
        return STEPS * BATCH / (time.perf_counter() - start)

    return measure


def step(network: nn.Module, optimizer: torch.optim.Optimizer, batch: list[Tensor]) -> Tensor:
    """One update in float32."""
    images, labels = batch
    optimizer.zero_grad()
    loss = cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()
    return loss


def cifarlab_loop(run: Run, saving: list[float]) -> Callable[[], float]:
    """Images/s of one call of ``fit`` for one more epoch of STEPS steps."""

    def measure() -> float:
        epochs = tuple(Epoch(i * STEPS, STEPS) for i in range(run.state.epoch + 1))
        run.plan = Plan((Segment(STEPS * len(epochs), "planned"),), STEPS, epochs)
        start = time.perf_counter()
        fit(run, [], Stop())
        return STEPS * BATCH / (time.perf_counter() - start - saving[-1])

    return measure


def save_seconds(run: Run) -> list[float]:
    """Seconds of each of the run's checkpoints, from now on."""
    seconds: list[float] = []
    save = run.checkpoints.save_last

    def timed(*arguments: object) -> None:
        start = time.perf_counter()
        save(*arguments)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)

    run.checkpoints.save_last = timed  # type: ignore[method-assign]
    return seconds


def bare_step(recipe: Recipe) -> Callable[[], float]:
    """Images/s of forward, backward and update on one fixed batch."""
    compute = choose()
    network = build_body(recipe.model, SHAPE, CLASSES).to(memory_format=torch.channels_last)
    optimizer = build_optimizer(recipe.optimizer, network)
    images = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (BATCH,))

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(STEPS):
            with compute.autocast():
                loss = cross_entropy(network(images), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return STEPS * BATCH / (time.perf_counter() - start)

    return measure


def main() -> None:
    """Measure, print, write the result."""
    os.environ["CIFARLAB_DEVICE"] = "cpu"  # this is the CPU's benchmark, wherever it runs
    recipe = change(
        find("resnet18"), {"data.source": "cifar10-jpeg.tar.xz", "data.validation": 0.0}
    )
    with tempfile.TemporaryDirectory() as folder:
        target = RunFolder(Path(folder) / "run")
        run = prepare(recipe, target, resume=False, command="benchmark", progress=None)
        saving = save_seconds(run)
        sides = {
            "usual": usual_way(recipe),
            "cifarlab": cifarlab_loop(run, saving),
            "bare": bare_step(recipe),
        }
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for measure in sides.values():
            measure()  # warm-up: allocation, kernel choice, workers
        for repeat in range(REPEATS):
            for name, measure in sides.items():
                speeds[name].append(measure())
            print(repeat + 1, {name: round(values[-1], 1) for name, values in speeds.items()})
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {
        "b/a": medians["cifarlab"] / medians["usual"],
        "b/c": medians["cifarlab"] / medians["bare"],
    }
    print("images/s, medians:", {name: round(value, 1) for name, value in medians.items()})
    print(f"b/a {ratios['b/a']:.2f} (bar 2.4), b/c {ratios['b/c']:.3f} (bar 0.97)")
    print(f"checkpoint: {statistics.median(saving):.2f} s, once an epoch")
    payload = {
        "n": REPEATS,
        "steps": STEPS,
        "precision": choose().precision,
        "images_per_second": speeds,
        "median": medians,
        "ratios": ratios,
        "checkpoint_seconds": saving,
    }
    print(write_result("throughput", "cpu", payload))


if __name__ == "__main__":
    main()
