"""What a combination gains over its members, paired by image, and what it costs in time."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cifarlab.combining.members import MemberRun, MemberRuns
from cifarlab.evaluation.activity import subsample
from cifarlab.evaluation.measure import predict
from cifarlab.evaluation.run_evaluation import open_split
from cifarlab.inference.predictor import Predictor
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.stats.crossed import crossed_intervals
from cifarlab.stats.intervals import paired_gain
from cifarlab.system.errors import RunFolderError
from cifarlab.system.formatting import percent, points

_TIMED_IMAGES, _REPEATS = 500, 5


def compare_with_members(folder: RunFolder, members: MemberRuns, command: str) -> dict[str, Any]:
    """Compare a combination with its members on each split that it was measured on.

    Args:
        folder: of the combination, which has finished
        members: its members; their test images are run where the combination's were, and each
            opening is recorded
        command: recorded with that

    Returns:
        By split, ``n``, ``accuracy``, the ``members``' accuracies and their ``mean``;
        ``over_mean``: ``gain`` and its 95 % ``interval`` over other images like these, the seeds
        being these; ``over_best``: the same against the member that is best on validation
        (``selected_by``; else on this split, which flatters it), with ``run`` and ``p``;
        ``over_teacher``: the same of a student, where its teacher was measured on the split, too.

    Raises:
        RunFolderError: predictions are missing, damaged or of other images
        CifarlabError: the test images of a member can't be run
    """
    splits = [name for name in ("val", "test") if (folder.result() or {}).get(name)]
    return {split: _compare(folder, members, split, command) for split in splits}


def _compare(folder: RunFolder, members: MemberRuns, split: str, command: str) -> dict[str, Any]:
    ours = Predictions.read(folder.predictions / f"{split}.safetensors")
    right, base = compare_by_image(ours, [read_split(run, split, command) for run in members.runs])
    accuracies = base.mean(1).tolist()
    by_val = [run.val_accuracy for run in members.runs if run.val_accuracy is not None]
    has_val = len(by_val) == len(accuracies)
    best = int(np.argmax(by_val if has_val else accuracies))
    return {
        "n": len(right),
        "accuracy": float(right.mean()),
        "members": accuracies,
        "mean": statistics.fmean(accuracies),
        "over_mean": gain_over_mean(right, base),
        "over_best": {
            "run": str(members.runs[best].folder.path.resolve()),
            "selected_by": "val" if has_val else split,
            **paired_gain(right, base[best]),
        },
        **_compare_with_teacher(folder, ours, split),
    }


def gain_over_mean(right: np.ndarray, base: np.ndarray) -> dict[str, Any]:
    """Return the ``gain`` over members' mean accuracy, and its ``interval`` over other images.

    That is None where it is not known: of one image, or where all images gain the same.

    Args:
        right: which images a combination gets right (N,)
        base: which its members do (M, N)
    """
    by_image = right - base.mean(0)
    interval = crossed_intervals(by_image[None]).images if len(right) > 1 else None
    return {"gain": float(by_image.mean()), "interval": interval}


def _compare_with_teacher(folder: RunFolder, ours: Predictions, split: str) -> dict[str, Any]:
    recipe = folder.recipe()
    if recipe.combination or not (settings := recipe.training.distillation):
        return {}
    teacher = RunFolder(Path(settings.teacher))
    file = teacher.predictions / f"{split}.safetensors"
    if not file.is_file():
        return {}
    right, base = compare_by_image(ours, [Predictions.read(file)])
    return {"over_teacher": {"run": str(teacher.path), **paired_gain(right, base[0])}}


def read_split(member: MemberRun, split: str, command: str = "") -> Predictions:
    """Return a member's predictions; without those of test, it is measured on these once.

    Args:
        member: the run
        split: val or test
        command: recorded where the test split is run

    Raises:
        RunFolderError: the predictions are missing or damaged
    """
    file = member.folder.predictions / f"{split}.safetensors"
    if split == "val" or file.is_file():
        return Predictions.read(file)
    if split not in member.predictions:  # a student's comparison follows that of its teacher
        run = open_split(member.folder, split, "evaluate", command, None)
        views = run.recipe.evaluation.tta_views
        member.predictions[split] = predict(run.predictor, run.subset, views)
    return member.predictions[split]


def compare_by_image(
    ours: Predictions, theirs: Sequence[Predictions]
) -> tuple[np.ndarray, np.ndarray]:
    """Return which images (N,) a combination gets right, and which (M, N) its M members do.

    Raises:
        RunFolderError: a member was measured on other images
    """
    if any(p.fingerprint != ours.fingerprint for p in theirs):
        what = "a member was measured on other images than this combination"
        raise RunFolderError(what, "restore its predictions, or train it again")
    right, *base = (p.logits.argmax(1) == p.labels for p in (ours, *theirs))
    return right, np.stack(base)


def measure_speed(ours: Predictor, members: MemberRuns) -> dict[str, Any]:
    """Return ``images_per_second`` of the combination and of the first member, taking turns.

    Also ``ratio``, the median over the turns of how many times the combination's time is the
    member's.
    """
    images = members.data.training
    indices = subsample(images.indices, _TIMED_IMAGES)
    views = members.first.recipe.evaluation.tta_views
    speeds: dict[str, list[float]] = {"combination": [], "member": []}
    ways = {"combination": ours, "member": members.first.predictor}
    for repeat in range(_REPEATS + 1):
        for name, predictor in ways.items():
            start = time.perf_counter()
            predictor.logits(images.images, views, indices)
            if repeat:  # the first one warms up
                speeds[name].append(len(indices) / (time.perf_counter() - start))
    pairs = zip(speeds["member"], speeds["combination"], strict=True)
    return {
        "images": len(indices),
        "images_per_second": {name: statistics.median(s) for name, s in speeds.items()},
        "ratio": statistics.median(member / combination for member, combination in pairs),
    }


def describe(combination: dict[str, Any]) -> list[str]:
    """Return in sentences what a result's ``combination`` says."""
    n, method = len(combination["members"]), combination["method"]
    extent = "the same" if combination["same_training_images"] else "not all the same"
    kind = "one run of one seed, distilled from" if method == "distilled" else f"{method} of"
    lines = [f"{kind} {n} runs, which trained on {extent} images"]
    lines += [
        f"row {choice['row']!r} of {choice['study']} ({choice['reason']}): "
        f"{choice['n_finished']} of {choice['n_runs']} runs have finished"
        for choice in combination.get("choices", ())
    ]
    for split, figures in combination["gain"].items():
        lines += _describe_split(split, figures, method)
    if not combination["gain"]:
        lines.append("no gain was measured: nothing was held out; --test measures it on test")
    cost = combination["cost"]
    speed = cost["images_per_second"]
    lines.append(
        f"{speed['combination']:,.0f} images/s, its first member {speed['member']:,.0f}: "
        f"{cost['ratio']:.2f} times its time"
    )
    if (seconds := cost["train_seconds"]) is not None:
        lines.append(f"training took {seconds:,.1f} s, with that of all members")
    return lines


def _describe_split(split: str, figures: dict[str, Any], method: str) -> list[str]:
    """Return what was gained on a split; what flatters says so."""
    mean, best = figures["over_mean"], figures["over_best"]
    is_gated = method == "soup" and split == "val"
    gate = ", flattered: below the mean here it would have been refused" if is_gated else ""
    choice = ", whose choice on these same images flatters it" * (best["selected_by"] == split)
    lines = [
        f"{split} accuracy {percent(figures['accuracy'])}, n = {figures['n']:,}: "
        f"{points(mean['gain'])} points over its members' mean{format_bounds(mean['interval'])}"
        f"{gate}; {points(best['gain'])} over the best by {best['selected_by']}"
        f"{format_bounds(best['interval'])}{choice}; intervals are over other images like these"
    ]
    if teacher := figures.get("over_teacher"):
        bounds = format_bounds(teacher["interval"])
        lines.append(f"on {split} {points(teacher['gain'])} points over its teacher{bounds}")
    if best["interval"][1] < 0:
        lines.append(f"warning: on {split} it is clearly worse than its best member")
    return lines


def format_bounds(interval: Sequence[float] | None) -> str:
    """Return an interval of points in brackets, after a space; nothing without one."""
    return f" (95 % interval {' to '.join(map(points, interval))})" if interval else ""
