"""Run folders as a training leaves them, made up without torch."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
RECIPE = {"training.duration": "8 epochs", "optimizer.lr": 0.05, "optimizer.nesterov": True}


@dataclass(frozen=True)
class Plan:
    """What to make up; the defaults resemble a short CIFAR-10 run."""

    classes: tuple[str, ...] = CIFAR10
    shape: tuple[int, int, int] = (32, 32, 3)
    data: str = "CIFAR-10"
    n: int = 2000
    epochs: int = 8
    seed: int = 0
    skill: float = 3.7
    changes: tuple[tuple[str, Any], ...] = tuple(RECIPE.items())
    finished: bool = True
    val: bool = True
    test: bool = True
    stop_reason: str = "planned"
    images: str = "4f5e"


def digits(**other: Any) -> Plan:
    changes = (("data.source", "digits"), ("schedule.kind", "multistep"))
    names = tuple("0123456789")
    base = Plan(names, (8, 8, 1), "digits", n=360, epochs=12, skill=5.4, changes=changes)
    return replace(base, **other)


def hundred(**other: Any) -> Plan:
    names = tuple(
        f"{a} {b}"
        for a in CIFAR10
        for b in ("blue", "tiny", "old", "wet", "far", "red", "hot", "odd", "raw", "shy")
    )
    return replace(Plan(names, data="CIFAR-100", n=5000, epochs=60, skill=5.2), **other)


def make(path: Path, plan: Plan | None = None) -> Path:
    """Write a whole run folder and return it."""
    plan = plan or Plan()
    draw = np.random.default_rng(plan.seed + 1)
    folder = RunFolder(path)
    recipe = change(Recipe(name="made/up", seed=plan.seed), dict(plan.changes))
    if not plan.val:
        recipe = change(recipe, {"data.val_fraction": 0.0})
    folder.write_recipe(recipe)
    folder.write_provenance(_provenance(plan))
    splits = [name for name in ("val", "test") if getattr(plan, name)]
    n_epochs = plan.epochs if plan.finished else plan.epochs // 2
    for line in _lines(plan, draw)[:n_epochs]:
        folder.metrics.append(line)
    if plan.finished:
        by_split = {split: _predictions(plan, draw) for split in splits}
        for split, predictions in by_split.items():
            predictions.write(folder.predictions / f"{split}.safetensors")
        folder.write_result(_result(plan, recipe, by_split, folder.metrics.read()))
    return path


def _lines(plan: Plan, draw: np.random.Generator) -> list[dict[str, Any]]:
    lines = []
    for epoch in range(1, plan.epochs + 1):
        elapsed = epoch / plan.epochs
        train = 0.92 - 0.6 * np.exp(-3 * elapsed) + 0.004 * draw.standard_normal()
        val = 0.88 - 0.6 * np.exp(-3.5 * elapsed) + 0.012 * draw.standard_normal()
        lr = 0.05 * (1 + np.cos(np.pi * elapsed)) / 2
        lines.append(
            {
                "epoch": epoch,
                "step": 352 * epoch,
                "lr": float(lr),
                "train": {"loss": float(2.3 - 2.2 * train), "accuracy": float(train)},
                "val": {"loss": float(2.4 - 2.2 * val), "accuracy": float(val)}
                if plan.val
                else None,
                "cost": {
                    "train_seconds": 51.5,
                    "evaluate_seconds": 3.25,
                    "images_per_second": 873.4,
                },
            }
        )
    return lines


def _predictions(plan: Plan, draw: np.random.Generator) -> Predictions:
    k = len(plan.classes)
    labels = np.arange(plan.n) % k
    similarity = draw.normal(0, 1, (k, k))
    hard = draw.uniform(0.8, 1.2, k)
    logits = draw.normal(0, 1, (plan.n, k)) + 0.9 * similarity[labels]
    logits[np.arange(plan.n), labels] += plan.skill * hard[labels]
    logits = (1.5 * logits).astype(np.float32)
    loss = -_log_probs(logits)[np.arange(plan.n), labels]
    mistakes = np.flatnonzero(logits.argmax(1) != labels)
    worst = mistakes[np.argsort(-loss[mistakes], kind="stable")][:25]
    images = (
        np.stack([_image(plan.shape, draw) for _ in worst])
        if len(worst)
        else np.zeros((0, *plan.shape), np.uint8)
    )
    indices = np.arange(plan.n) * 3 + 7
    return Predictions(plan.classes, logits, labels, indices, worst, images)


def _log_probs(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def _image(shape: tuple[int, int, int], draw: np.random.Generator) -> np.ndarray:
    h, w, c = shape
    y, x = np.mgrid[:h, :w] / h
    center, radius = draw.uniform(0.3, 0.7, 2), draw.uniform(0.15, 0.4)
    blob = (np.hypot(y - center[0], x - center[1]) < radius)[..., None]
    color, ground = draw.uniform(0, 255, c), draw.uniform(0, 255, c)
    picture = np.where(blob, color, ground * (1 - 0.5 * y[..., None]))
    return np.clip(picture + draw.normal(0, 9, shape), 0, 255).astype(np.uint8)


def _result(
    plan: Plan, recipe: Recipe, by_split: dict[str, Predictions], lines: list[dict[str, Any]]
) -> dict[str, Any]:
    best = max(lines, key=lambda line: line["val"]["accuracy"]) if plan.val else None
    notes = [] if plan.test else ["the test file is gone: no test result"]
    return {
        "recipe": recipe.name,
        "fingerprint": fingerprint(recipe),
        "data": plan.data,
        "parameters": 4903242,
        "epochs": plan.epochs,
        "steps": 352 * plan.epochs,
        "stop_reason": plan.stop_reason,
        "evaluated": {"checkpoint": "last", "epoch": plan.epochs, "tta_views": 1},
        "best": best
        and {"epoch": best["epoch"], "metric": "accuracy", "value": best["val"]["accuracy"]},
        **{split: _split(plan, predictions) for split, predictions in by_split.items()},
        "notes": notes,
        "cost": {
            "train_seconds": 412.0,
            "evaluate_seconds": 30.5,
            "images_per_second": 873.4,
            "peak_memory_bytes": 1474560000,
        },
    }


def _split(plan: Plan, predictions: Predictions) -> dict[str, Any]:
    k, guess = len(plan.classes), predictions.logits.argmax(1)
    confusion = np.zeros((k, k), int)
    np.add.at(confusion, (predictions.labels, guess), 1)
    right, totals = np.diag(confusion), confusion.sum(1)
    loss = -_log_probs(predictions.logits)[np.arange(plan.n), predictions.labels].mean()
    return {
        "n": plan.n,
        "accuracy": float(right.sum() / plan.n),
        "interval": wilson_interval(int(right.sum()), plan.n),
        "loss": float(loss),
        "per_class": [
            {
                "class": name,
                "n": int(n),
                "correct": int(c),
                "accuracy": float(c / n),
                "interval": wilson_interval(int(c), int(n)),
            }
            for name, n, c in zip(plan.classes, totals, right, strict=True)
        ],
        "confusion_matrix": confusion.tolist(),
    }


def wilson_interval(n_correct: int, n: int) -> list[float]:
    """Return the 95 % interval of a fraction."""
    z, p = 1.959964, n_correct / n
    center, half_width = p + z * z / (2 * n), z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return [(center - half_width) / (1 + z * z / n), (center + half_width) / (1 + z * z / n)]


def _provenance(plan: Plan) -> dict[str, Any]:
    opening = {
        "time": "2026-01-05T10:08:11Z",
        "opener": "train",
        "command": "cifarlab train made/up",
    }
    return {
        "cifarlab": "0.1.0",
        "commit": None,
        "python": "3.11.7",
        "libraries": {"torch": "2.11.0", "numpy": "2.4.6"},
        "device": {"name": "AMD EPYC", "type": "cpu", "threads": 2},
        "precision": "bfloat16",
        "data": {
            "name": plan.data,
            "source": "/data/images",
            "fingerprint": f"{plan.data}-{plan.images}",
            "classes": list(plan.classes),
            "image_shape": list(plan.shape),
            "train": 45000,
            "val": 5000,
            "mean": [0.4914, 0.4822, 0.4465],
            "std": [0.247, 0.2435, 0.2616],
            "skipped": 0,
        },
        "starts": [
            {"time": "2026-01-05T10:00:00Z", "command": "cifarlab train made/up", "step": 0}
        ],
        "test_openings": [opening] if plan.finished and plan.test else [],
    }
