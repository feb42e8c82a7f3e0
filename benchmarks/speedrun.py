"""A speed recipe over seeds: accuracy on the test images, and seconds of training and evaluation.

    CIFARLAB_DATA=DATA python benchmarks/speedrun.py --device cpu --seeds 5
    ... --peer "airbench94_muon=python elsewhere/peer.py"

Each run trains on all training images and opens the test split once, at its end. The counted
seconds are training (loader, augmentation, metrics log) and the evaluation of the test images with
the recipe's views, not the start of the process, the opening of the data or the checkpoints;
``wall`` counts these too. FLOP are of one forward and backward pass per image at each image size,
as torch counts them (a multiply-add is 2), and of the evaluation with all views for all images: at
most what it takes where a confidence threshold decides.

``--peer`` is a name and a command that trains and evaluates once and prints, as its last line, JSON
with ``accuracy`` (0..1) and ``seconds``; it takes its turn in the middle of our runs. ``--jobs``
lets that many processes share the device; each then prints its own seconds, and ``wall`` of the
whole says what that was good for.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _results import write_result


def train_once(recipe_name: str, source: str, changes: list[str], seed: int) -> dict[str, Any]:
    """Train once in a temporary folder; return the figures of its result."""
    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import apply_overrides, change
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.training.train import train

    settings = {"data.source": source, "data.val_fraction": 0.0, "seed": seed}
    recipe = apply_overrides(change(find(recipe_name), settings), changes)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        result = train(recipe, RunFolder(Path(folder) / "run"), callbacks=(), command="benchmark")
        wall = time.perf_counter() - begun
    cost = result["cost"]
    return {
        "seed": seed,
        "accuracy": result["test"]["accuracy"],
        "seconds": cost["train_seconds"] + cost["evaluate_seconds"],
        "train_seconds": cost["train_seconds"],
        "evaluate_seconds": cost["evaluate_seconds"],
        "compile_seconds": cost["compile_seconds"],
        "images_per_second": result["steps"] * recipe.training.batch_size / cost["train_seconds"],
        "wall_seconds": wall,
        "peak_memory_bytes": cost["peak_memory_bytes"],
        "data": result["data"],
        "fingerprint": result["fingerprint"],
    }


def flop_per_run(recipe_name: str, source: str, changes: list[str]) -> float:
    """Return the FLOP of the training and evaluation passes of one run, counted on a few images."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from cifarlab.recipes.catalog import find
    from cifarlab.recipes.text import apply_overrides, change
    from cifarlab.run_folder.folder import RunFolder
    from cifarlab.training.setup import prepare

    recipe = apply_overrides(
        change(find(recipe_name), {"data.source": source, "data.val_fraction": 0.0}), changes
    )
    with tempfile.TemporaryDirectory() as folder:
        target = RunFolder(Path(folder) / "run")
        run = prepare(recipe, target)
    height, _, channels = run.dataset.image_shape

    def count_flop(pixels: int, training: bool) -> float:
        images = torch.rand(4, pixels, pixels, channels, device=run.compute.device) * 255
        with FlopCounterMode(display=False) as counter:
            logits = run.state.classifier(images)
            if training:
                logits.sum().backward()
        return counter.get_total_flops() / 4

    fraction = recipe.training.selective_backprop.keep
    total, flop_by_size = 0.0, {}
    for step in range(run.plan.steps):
        pixels = run.plan.image_size(step) or height
        if pixels not in flop_by_size:
            flop_by_size[pixels] = count_flop(pixels, True), count_flop(pixels, False)
        passes, forward = flop_by_size[pixels]
        images = run.plan.n_images(step)
        selects = run.plan.n_trained(step, images) < images
        total += images * (fraction * passes + forward if selects else passes)
    return total + 10_000 * recipe.evaluation.tta_views * count_flop(height, False)


def run_peer(command: str) -> dict[str, Any]:
    """Return the last line that the peer's command prints, as JSON."""
    output = subprocess.run(shlex.split(command), check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(output.stdout.strip().splitlines()[-1]))


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return mean, standard deviation and median of accuracy and seconds."""
    summary: dict[str, Any] = {"n": len(runs)}
    for name in ("accuracy", "seconds"):
        values = [run[name] for run in runs]
        summary[name] = {
            "mean": statistics.mean(values),
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "median": statistics.median(values),
        }
    return summary


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("changes", nargs="*", help="key=value changes of the recipe")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:3, mps")
    parser.add_argument("--recipe", default="speed/94")
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--peer", action="append", default=[])
    options = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = options.device
    what = (options.recipe, options.data, options.changes)
    flop = flop_per_run(*what)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs: list[dict[str, Any]] = []
    commands = dict(peer.split("=", 1) for peer in options.peer)
    peers: dict[str, list[dict[str, Any]]] = {name: [] for name in commands}
    begun = time.perf_counter()
    if options.jobs > 1:
        with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
            runs = [f.result() for f in [pool.submit(train_once, *what, seed) for seed in seeds]]
    else:
        for seed in seeds:
            if len(runs) == options.seeds // 2:
                for name, peer_runs in peers.items():
                    peer_runs.append(run_peer(commands[name]))
                    print(name, peer_runs[-1], flush=True)
            runs.append(train_once(*what, seed))
            print({k: v for k, v in runs[-1].items() if k != "fingerprint"}, flush=True)
    payload: dict[str, Any] = {
        "recipe": options.recipe,
        "changes": options.changes,
        "jobs": options.jobs,
        "wall_seconds": time.perf_counter() - begun,
        "flop_per_run": flop,
        "summary": summarize(runs),
        "runs": runs,
        "peers": {name: summarize(group) | {"runs": group} for name, group in peers.items()},
    }
    ours = payload["summary"]["seconds"]["median"]
    payload["ratios"] = {
        name: ours / peer["seconds"]["median"] for name, peer in payload["peers"].items()
    }
    print(json.dumps({k: payload[k] for k in ("summary", "flop_per_run", "ratios")}, indent=1))
    print(write_result(f"speedrun-{options.recipe.replace('/', '-')}", options.device, payload))


if __name__ == "__main__":
    sys.exit(main())
