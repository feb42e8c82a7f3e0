"""Made runs with everything that evaluate --full and audit leave behind."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from made_run import CIFAR10, Plan, _image, make

from cifarlab.run_folder.audit_findings import Audit
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions

KINDS = ("gaussian noise", "zoom blur", "frost", "jpeg")
FAMILIES = ("noise", "blur", "weather", "digital")


def bins(shift_by: float) -> list[dict]:
    rows = []
    for n in range(15):
        count = 0 if n == 3 else 10 * (n + 1)
        center = (n + 0.5) / 15
        accuracy = max(0.0, center - shift_by)
        scores = {"confidence": center, "accuracy": accuracy} if count else {}
        rows.append(
            {"low": n / 15, "high": (n + 1) / 15, "n": count, "confidence": None, "accuracy": None}
            | scores
        )
    return rows


def calibration(temperature: float) -> dict:
    gap = 0.08 / temperature
    return {
        "temperature": temperature,
        "nll": 0.5 / temperature,
        "brier": 0.21,
        "ece": gap,
        "bins": bins(gap),
    }


def examined(split: str = "test") -> dict:
    against = {"gain": 0.0125, "interval": [0.004, 0.021], "p": 0.0031}
    cost = {"seconds": 12.5, "images_per_second": 800.0}
    return {
        "data": "CIFAR-10",
        "split": split,
        "measured": {"groups": None},
        "tta": [
            {"views": n, "name": name, "accuracy": value, "against_single_view": gain, "cost": cost}
            for n, name, value, gain in ((1, "none", 0.86, None), (2, "flip", 0.8725, against))
        ],
        "shift": {
            "n": 2000,
            "clean": 0.86,
            "mean": 0.613,
            "families": {family: 0.6 + 0.01 * n for n, family in enumerate(FAMILIES)},
            "corruptions": [
                {"name": kind, "family": family, "accuracy": [0.85 - 0.07 * s - 0.02 * n
                                                              for s in range(5)]}
                for n, (kind, family) in enumerate(zip(KINDS, FAMILIES, strict=True))
            ],
        },
        "ood": {"data": "digits", "scores": [{"name": "energy", "auroc": 0.9512}]},
    }  # fmt: skip


NAME = "cat/<b>5</b>.png"


def _image_entry(split: str, index: int, label: int) -> dict:
    return {"split": split, "index": index, "name": f"{split}/{index}.png", "given_label": label}


def findings() -> dict:
    suspect = {
        "index": 5,
        "name": NAME,
        "given_label": 3,
        "predicted_label": 5,
        "true_label": 5,
        "label_quality": 0.01,
    }
    pair = {"a": _image_entry("train", 3, 1), "b": _image_entry("test", 9, 2), "similarity": 0.9912}
    curve = [{"suspects": 10, "precision": 0.8, "recall": 0.4}]
    return {
        "classes": list(CIFAR10),
        "duplicates": {
            "images": {"train": 100, "test": 50},
            "groups": 7,
            "n_equal": 2,
            "n_near": 5,
            "twins": [{"split": "train", "twin_split": "test", "images": 3}],
            "conflicts": 1,
            "pairs": [pair, {**pair, "similarity": 1.0, "b": _image_entry("train", 11, 1)}],
            "notes": ["Pairs were <cut>."],
        },
        "labels": {
            "n": 10_000,
            "folds": 3,
            "agreement": 0.81,
            "n_label_issues": 512,
            "noise": {"n_wrong": 500, "precision": 0.7321, "chance": 0.05, "curve": curve},
            "suspects": [{**suspect, "probability": 0.987}] * 7,
            "notes": ["The networks are <weak>."],
        },
    }


def more_mistakes(folder: RunFolder) -> None:
    """Keep forty mistakes, so that the most confident are not just the worst in another order."""
    file = folder.predictions / "test.safetensors"
    predictions = Predictions.read(file)
    wrong = np.flatnonzero(predictions.logits.argmax(1) != predictions.labels)[:40]
    images = np.resize(
        predictions.mistake_images, (len(wrong), *predictions.mistake_images.shape[1:])
    )
    replace(predictions, mistakes=wrong, mistake_images=images).write(file)


def make_full_run(path: Path, plan: Plan | None = None, split: str = "test") -> Path:
    """A made run with everything that can be found out of it."""
    folder = RunFolder(make(path, plan))
    more_mistakes(folder)
    result = folder.result()
    result["test"] |= {
        "top_k": [0.86, 0.95, 0.97, 0.98, 0.99],
        "std": 0.06,
        "groups": [
            {
                "group": "animals",
                "classes": ["bird", "cat"],
                "n": 400,
                "accuracy": 0.8,
                "interval": [0.75, 0.84],
                "coarse_accuracy": 0.97,
            }
        ],
        "calibration": calibration(1.0),
        "calibrated": calibration(1.6),
    }
    folder.write_result(result)
    folder.write_evaluation(split, examined(split))
    draws = np.random.default_rng(0)
    shape = (plan or Plan()).shape
    images = np.stack([_image(shape, draws) for _ in range(7)])
    Audit(folder.audit).write(
        findings(), {"suspects": images, "pairs": images[:4].reshape(2, 2, *shape)}
    )
    return path
