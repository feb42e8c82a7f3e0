"""Training speed: a common script, cifarlab's loop, the bare step.

    CIFARLAB_DATA=DATA python benchmarks/throughput.py [--recipe speed/94] [--batch 128]

(a) a common script: float32, contiguous NCHW, PIL transforms per image in a DataLoader with two
    workers, the loss read at each step, as in the common CIFAR-10 scripts;
(b) cifarlab: ``training.loop.fit`` with loader, augmentation, clocks and metrics log, in the
    arithmetic that ``cifarlab check`` chooses. Its time is all of ``fit`` for those steps, without
    the checkpoint, which here comes every few steps instead of once an epoch: its seconds are
    reported apart. Nothing is held out (data.val_fraction=0);
(c) the bare step: the same network, arithmetic, layout and micro-batches on one fixed batch.

ResNet-18 at batch 128 by default. They take turns within one process; medians of the repeats, and
of the ratios repeat by repeat.
The common script is measured for ResNet-18 alone. A recipe's progressive image sizes are left out,
and a whitening layer's bias is frozen on both sides, as it is for most of a run. Bars: b/a 2.4
on a CPU, 5 on a GPU; b/c 0.97 on a CPU, 0.9 on a GPU.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _results import paired_ratio, write_result
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from cifarlab.data.batch_sizes import batch_sizes
from cifarlab.data.opening import open_data
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.configs import WhiteningConfig
from cifarlab.models.network import parameter_roles
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.optim.schedules import Segment
from cifarlab.recipes.catalog import find
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import Compute, choose_compute
from cifarlab.training.loop import fit
from cifarlab.training.plan import Epoch
from cifarlab.training.run import Run
from cifarlab.training.setup import prepare

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


def time_common_script(recipe: Recipe, steps: int, compute: Compute) -> Callable[[], float]:
    """Return a function that gives images/s of a pass over ``steps`` batches after the first."""
    train = open_data(recipe.data).training
    batch = recipe.training.batch_size
    count = (steps + 1) * batch
    pil = PilImages(np.array(train.images[train.indices[:count]]), train.labels[train.indices])
    loader = DataLoader(
        pil, batch, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True
    )
    network = build_body(recipe.model, SHAPE, CLASSES).to(memory_format=torch.contiguous_format)
    network = network.to(compute.device)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, 0.9, weight_decay=5e-4)

    def measure() -> float:
        batches, running = iter(loader), 0.0
        step(network, optimizer, next(batches), compute).item()
        start = time.perf_counter()
        for arrays in batches:
            running += step(network, optimizer, arrays, compute).item()
        return steps * batch / (time.perf_counter() - start)

    return measure


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, arrays: list[Tensor], compute: Compute
) -> Tensor:
    """One update in float32."""
    images, labels = (array.to(compute.device) for array in arrays)
    optimizer.zero_grad()
    loss = cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()
    return loss


def time_cifarlab_loop(run: Run, steps: int, saving: list[float]) -> Callable[[], float]:
    """Return a function that gives images/s of one call of ``fit``, for one more epoch."""

    def measure() -> float:
        epochs = tuple(Epoch(i * steps, steps) for i in range(run.state.epoch + 1))
        segments = (Segment(steps * len(epochs), "planned"),)
        run.plan = replace(run.plan, segments=segments, epochs=epochs)
        start = time.perf_counter()
        fit(run)
        run.compute.synchronize()
        seconds = time.perf_counter() - start - saving[-1]
        return sum(run.loader.batch_sizes[:steps]) / seconds

    return measure


def time_checkpoints(run: Run) -> list[float]:
    """Return a list that gets the seconds of each checkpoint of the run, from now on."""
    seconds: list[float] = []
    save = run.checkpoints.save_last

    def timed(*arguments: object) -> None:
        run.compute.synchronize()
        start = time.perf_counter()
        save(*arguments)  # type: ignore[arg-type]
        seconds.append(time.perf_counter() - start)

    run.checkpoints.save_last = timed  # type: ignore[method-assign]
    return seconds


def time_bare_step(
    recipe: Recipe, steps: int, compute: Compute, pixels: int = SHAPE[0]
) -> Callable[[], float]:
    """Return a function that gives images/s of forward, backward and update on a fixed batch."""
    body = build_body(recipe.model, SHAPE, CLASSES)
    classifier = Classifier(body, MEAN, STD).to(compute.device)
    roles = parameter_roles(classifier)
    optimizer = build_optimizer(recipe.optimizer, roles, compute.precision)
    for bias in roles["whitening"]:
        bias.requires_grad_(False)
    network = compute.compile(classifier.body)
    batch = recipe.training.batch_size
    images = torch.randn(batch, 3, pixels, pixels, device=compute.device)
    images = images.to(memory_format=torch.channels_last)
    labels = torch.randint(0, CLASSES, (batch,), device=compute.device)
    sizes = batch_sizes(batch, recipe.training.micro_batch_size)
    micro_batches = list(zip(images.split(sizes), labels.split(sizes), strict=True))

    def measure() -> float:
        compute.synchronize()
        start = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            for inputs, targets in micro_batches:
                with compute.autocast():
                    loss = cross_entropy(network(inputs), targets)
                loss.backward()
            optimizer.step()
        compute.synchronize()
        return steps * batch / (time.perf_counter() - start)

    return measure


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="resnet18")
    parser.add_argument("--batch", type=int, help="images per step; the recipe's by default")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:3, mps")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--images", type=int, default=2048, help="of a repeat, up to whole batches")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = options.device
    shipped = find(options.recipe)
    settings = {
        "data.source": options.data,
        "data.val_fraction": 0.0,
        "augment.progressive_resize": [],
        "training.batch_size": options.batch or shipped.training.batch_size,
    }
    if getattr(shipped.model, "whitening", WhiteningConfig()).kernel_size:
        settings["optimizer.whitening.until"] = "1 steps"
    recipe = change(shipped, settings)
    steps = max(4, -(-options.images // recipe.training.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        target = RunFolder(Path(folder) / "run")
        run = prepare(recipe, target)
        saving = time_checkpoints(run)
        sides = {
            "cifarlab": time_cifarlab_loop(run, steps, saving),
            "bare": time_bare_step(recipe, steps, run.compute),
        }
        if options.recipe == "resnet18":
            sides = {"usual": time_common_script(recipe, steps, run.compute), **sides}
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for measure in sides.values():
            measure()  # warm-up: allocation, kernel choice, workers
        for repeat in range(options.repeats):
            for name, measure in sides.items():
                speeds[name].append(measure())
            latest = {name: round(values[-1], 1) for name, values in speeds.items()}
            print(repeat + 1, latest, flush=True)
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    ratios = {"b/c": paired_ratio(speeds["cifarlab"], speeds["bare"])}
    if "usual" in speeds:
        ratios["b/a"] = paired_ratio(speeds["cifarlab"], speeds["usual"])
    print("images/s, medians:", {name: round(value, 1) for name, value in medians.items()})
    print("ratios:", {name: round(value, 3) for name, value in ratios.items()})
    print(f"checkpoint: {statistics.median(saving):.2f} s, once an epoch")
    payload = {
        "n": options.repeats,
        "recipe": options.recipe,
        "batch": recipe.training.batch_size,
        "steps": steps,
        "precision": choose_compute().precision,
        "images_per_second": speeds,
        "median": medians,
        "ratios": ratios,
        "checkpoint_seconds": saving,
    }
    what = f"throughput-{options.recipe.replace('/', '-')}-{recipe.training.batch_size}"
    print(write_result(what, options.device, payload))


if __name__ == "__main__":
    main()
