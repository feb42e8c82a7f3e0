"""Whether an exported network is the one that was measured: figures, and where they are refused."""

import math
from typing import Any

import numpy as np

from cifarlab.exporting.formats import Outputs
from cifarlab.stats.intervals import lower_bound_of_gain, paired_gain, wilson_interval
from cifarlab.system.errors import ExportError
from cifarlab.system.formatting import count, interval, percent, points

TOLERANCE = 3e-5  # of logits in the same arithmetic, for a largest logit of 1; 1e-6 was measured


def compare_outputs(ours: Outputs, base: Outputs, labels: np.ndarray) -> dict[str, Any]:
    """Compare two networks on the same images.

    Args:
        ours: of the exported network
        base: of the network in the laboratory
        labels: the images' classes (N,)

    Returns:
        ``n``, ``max_logit_difference``, ``max_probability_difference``, ``largest_logit`` (of base,
        in magnitude), ``n_flips`` (predictions that differ), ``n_gained`` and ``n_lost`` (that
        became right and wrong), ``accuracy`` and ``base_accuracy`` with their Wilson intervals,
        ``gain`` with its interval (see ``paired_gain``) and ``at_least``, its one-sided bound.
    """
    guesses, base_guesses = (outputs.logits.argmax(1) for outputs in (ours, base))
    right, base_right = guesses == labels, base_guesses == labels
    n, n_right, n_base_right = len(labels), int(right.sum()), int(base_right.sum())
    n_gained, n_lost = int((right & ~base_right).sum()), int((base_right & ~right).sum())
    gain = paired_gain(right, base_right)
    return {
        "n": n,
        "max_logit_difference": float(np.abs(ours.logits - base.logits).max()),
        "max_probability_difference": float(np.abs(ours.probabilities - base.probabilities).max()),
        "largest_logit": float(np.abs(base.logits).max()),
        "n_flips": int((guesses != base_guesses).sum()),
        "n_gained": n_gained,
        "n_lost": n_lost,
        "accuracy": n_right / n,
        "interval": wilson_interval(n_right, n),
        "base_accuracy": n_base_right / n,
        "base_interval": wilson_interval(n_base_right, n),
        "gain": gain["gain"],
        "gain_interval": gain["interval"],
        "at_least": lower_bound_of_gain(n_gained, n_lost, n),
    }


def tolerance(figures: dict[str, Any]) -> float:
    """Return how far logits may differ by rounding, from what ``compare_outputs`` returned."""
    bound: float = TOLERANCE * max(1.0, figures["largest_logit"])
    return bound


def require_equal(figures: dict[str, Any]) -> None:
    """Refuse an exported network that is not the same one, computed in the same arithmetic.

    Raises:
        ExportError: a logit differs by more than rounding, or is no number
    """
    difference, bound = figures["max_logit_difference"], tolerance(figures)
    if not difference <= bound:  # NaN is refused, too
        raise ExportError(
            f"the exported network is another one: a logit differs by {difference:.3g}, which "
            f"rounding does not explain (at most {bound:.2g}), and {figures['n_flips']:,} "
            "predictions flip",
            "its certificate is refused: export it anew; if that fails, too, report it as a bug",
        )


def require_not_inferior(figures: dict[str, Any], margin: float) -> None:
    """Refuse a quantized network that may be worse than the run by more than the margin.

    Args:
        figures: what ``compare_outputs`` returned
        margin: in points of accuracy

    Raises:
        ExportError: the one-sided 95 % bound of the paired difference lies below the margin
    """
    at_least = figures["at_least"]
    if not at_least > -margin / 100:
        figure = f"{percent(figures['accuracy'])} instead of {percent(figures['base_accuracy'])}"
        raise ExportError(
            f"the quantized network is not shown to be within {margin:g} points of the run: "
            f"{figure}, which is {points(figures['gain'])} points, and with 95 % confidence no "
            f"less than {points(at_least)} ({figures['n_flips']:,} predictions flip)",
            f"export without --quantize, on more images (--test), or with --margin "
            f"{math.ceil(-1000 * at_least + 1e-9) / 10:g}, if you can bear that",
        )


def describe(certificate: dict[str, Any]) -> list[str]:
    """Return in sentences what a certificate, or the figures of a check, say."""
    run, images = certificate["against_run"], certificate["images"]
    low, high = (points(bound) for bound in run["gain_interval"])
    lines = [
        f"{images['split']} accuracy {percent(run['accuracy'])} on {images['data']} (95 % interval "
        f"{interval(run['interval'])}, n = {count(images['n'])})",
        f"the run, in {run['precision']}: {percent(run['base_accuracy'])}, so "
        f"{points(run['gain'])} points (95 % interval {low} to {high}), "
        f"{_count_flips(run)} of {count(images['n'])}",
    ]
    if float32 := certificate["against_float32"]:
        lines.append(
            f"the same network in float32: logits differ by at most "
            f"{float32['max_logit_difference']:.2g} (rounding explains {tolerance(float32):.2g}), "
            f"probabilities by {float32['max_probability_difference']:.2g}, {_count_flips(float32)}"
        )
    else:
        lines.append(
            f"not inferior within {certificate['margin']:g} points: with 95 % confidence no less "
            f"than {points(run['at_least'])} points"
        )
    if images["split"] == "train":
        lines.append("training images: their accuracy says nothing of other images")
    return lines


def _count_flips(figures: dict[str, Any]) -> str:
    n = figures["n_flips"]
    return "1 prediction flips" if n == 1 else f"{n:,} predictions flip"
