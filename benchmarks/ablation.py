"""The parts of a speed recipe, one out (or one in) at a time, over seeds.

    CIFARLAB_DATA=../shared/data python benchmarks/ablation.py --seeds 3 --scale 0.25

Every variant differs from the recipe in one thing, is trained on the same images with the same
seeds, and is judged on the validation images; the test split stays closed. Differences are paired
by seed, with 95 % t intervals. ``--scale`` shortens the training of all of them. Finished runs are
kept in ``--runs`` and not run again. Writes results/ and the table docs/studies/speed-94.md.
"""

import argparse
import json
import os
import platform
import statistics
from pathlib import Path
from typing import Any

from _results import hardware, write_result
from scipy import stats

from cifarlab.evaluate import evaluate_run
from cifarlab.recipe import Recipe, change
from cifarlab.recipes import find
from cifarlab.run import RunFolder
from cifarlab.train import train

TABLE = Path(__file__).parents[1] / "docs" / "studies" / "speed-94.md"
SOURCE = "cifar10-jpeg.tar.xz"

# what is taken out or put in -> the settings that do it
VARIANTS: dict[str, dict[str, Any]] = {
    "speed/94 as it is": {},
    "no whitening layer": {"model.whitening.kernel": 0},
    "all twelve directions of the whitening": {"model.whitening.directions": None},
    "two convolutions in the last group": {"model.depth": 2},
    "PyTorch's initialisation, not identity-like": {"model.initialisation": "usual"},
    "batch normalisation with a scale": {"model.norm.scale": True},
    "running statistics kept 0.9, not 0.6": {"model.norm.momentum": 0.9},
    "head not scaled down": {"model.head_scale": 1.0},
    "ReLU": {"model.activation": "relu"},
    "Muon without scaling the weights": {"optimizer.normalise": False},
    "SGD for all parameters, not Muon": {},  # filled in below: it needs rates of its own
    "one rate for norms, head and whitening": {"optimizer.head": {}},
    "whitening bias trained throughout": {"optimizer.whitening": {}},
    "constant rate": {"schedule.kind": "constant"},
    "random flip, not alternating": {"augment.flip": "random"},
    "no flip": {"augment.flip": "none"},
    "no translation": {"augment.crop.padding": 0},
    "no label smoothing": {"training.label_smoothing": 0.0},
    "full image size throughout": {"augment.sizes": []},
    "whole batches, no micro-batches": {"training.micro_batch": None},
    "with selection: the hardest half, from the middle on": {
        "training.selection.share": 0.5,
        "training.selection.start": "0.5 of the run",
        "training.selection.pixels": 16,
    },
    "with the first group frozen from the middle on": {
        "training.freeze": [{"start": "0.5 of the run", "stages": 1}]
    },
    "with look-ahead": {"averaging.kind": "lookahead"},
    "with averaged weights": {"averaging.kind": "ema", "averaging.decay": 0.9},
    "with jitter": {"augment.jitter": {"brightness": 0.035, "contrast": 0.13}},
    "with cutout": {"augment.cutout": 8},
    "with momentum falling to half": {"schedule.final_momentum": 0.3},
}


def scaled(recipe: Recipe, scale: float) -> Recipe:
    """The recipe for ``scale`` of its duration; what is a share of the run shrinks with it."""
    value, unit = str(recipe.training.duration).split(" ", 1)
    return change(recipe, {"training.duration": f"{float(value) * scale:g} {unit}"})


def variant(recipe: Recipe, settings: dict[str, Any], name: str) -> Recipe:
    """The recipe with what the variant changes."""
    if name == "SGD for all parameters, not Muon":
        # airbench94's rates before Muon (its legacy script): 11.5 per 1,024 images, norms 64 times
        batch = recipe.training.batch_size
        rate = 11.5 * batch / (1024 * (1 + 1 / (1 - 0.85)))
        decay = 0.0153 / 11.5
        groups = {"rate": 64 * rate, "weight_decay": decay / 64}
        settings = {
            "optimizer": {
                "kind": "sgd",
                "rate": rate,
                "momentum": 0.85,
                "nesterov": True,
                "weight_decay": decay,
                "norms": groups,
                "whitening": {**groups, "until": str(recipe.optimizer.whitening.until)},
            }
        }
    return change(recipe, settings)


def measured(recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    """Train unless it is done; accuracy on validation with 1, 2 and 6 views, and the cost."""
    if not folder.finished:
        train(recipe, folder, resume=folder.exists, command="ablation")
    result = folder.result()
    views = {n: evaluate_run(folder, "val", n)[0]["accuracy"] for n in (1, 2)}
    return {
        "accuracy": result["val"]["accuracy"],
        "one_view": views[1],
        "two_views": views[2],
        "train_seconds": result["cost"]["train_seconds"],
        "data": result["data"],
    }


def compared(runs: list[dict[str, Any]], base: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and deviation in points; the difference paired by seed with its 95 % interval."""
    points = [100 * run["accuracy"] for run in runs]
    differences = [p - 100 * b["accuracy"] for p, b in zip(points, base, strict=True)]
    n, mean = len(differences), statistics.mean(differences)
    told: dict[str, Any] = {
        "mean": statistics.mean(points),
        "deviation": statistics.stdev(points),
        "difference": mean,
        "seconds": statistics.median(run["train_seconds"] for run in runs),
    }
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(differences) / n**0.5
    return told | {"interval": [mean - half, mean + half]}


def table(results: dict[str, dict[str, Any]], about: str) -> str:
    """The committed page."""
    rows = [
        f"| {name} | {t['mean']:.2f} ± {t['deviation']:.2f} | {t['difference']:+.2f} "
        f"| {t['interval'][0]:+.2f} to {t['interval'][1]:+.2f} | {t['seconds']:.0f} |"
        for name, t in results.items()
    ]
    return "\n".join(
        [
            "# speed/94, one part out at a time",
            "",
            about,
            "",
            "| variant | validation accuracy, % | difference, points | 95 % interval | seconds |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Train what is missing, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=0.25)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    given = parser.parse_args()
    os.environ["CIFARLAB_DEVICE"] = given.device
    settings = {"data.source": SOURCE, "evaluation.test": False}
    recipe = scaled(change(find("speed/94"), settings), given.scale)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in VARIANTS}
    for seed in range(given.seeds):
        for name, settings in VARIANTS.items():
            one = change(variant(recipe, settings, name), {"seed": seed})
            slug = "".join(c if c.isalnum() else "-" for c in name)
            folder = RunFolder(given.runs / f"{given.scale:g}-{slug}-{seed}")
            runs[name].append(measured(one, folder))
            print(f"{name}, seed {seed}: {json.dumps(runs[name][-1])}", flush=True)
    base = runs["speed/94 as it is"]
    results = {name: compared(of, base) for name, of in runs.items()}
    views = {
        key: statistics.mean(100 * run[key] for run in base) for key in ("one_view", "two_views")
    }
    machine = hardware()
    about = (
        f"{base[0]['data']}; {given.scale:g} of the recipe's training, {given.seeds} seeds, "
        f"{machine['cpu']}, {machine['cores']} cores, {platform.system()}. Judged on the tenth of "
        "the training images that is held out; differences are paired by seed. With one view the "
        f"recipe's mean is {views['one_view']:.2f} %, with two {views['two_views']:.2f} %. "
        f"Command: `python benchmarks/ablation.py --seeds {given.seeds} --scale {given.scale:g}`."
    )
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text(table(results, about), encoding="utf-8")
    payload = {"scale": given.scale, "seeds": given.seeds, "runs": runs, "results": results}
    print(table(results, about))
    print(write_result("ablation-speed-94", given.device, payload | {"views": views}))


if __name__ == "__main__":
    main()
