"""Whether an exported network is the one that was measured: figures, and where they are refused."""

from typing import Any

import numpy as np

from cifarlab.exporting.formats import Outputs
from cifarlab.metrics.calibration import log_loss, scaled_softmax
from cifarlab.stats.intervals import lower_bound_of_gain, paired_gain, wilson_interval
from cifarlab.system.errors import ExportError
from cifarlab.system.formatting import count, interval, percent, points

TOLERANCE = 3e-5  # of logits in the same arithmetic, for a largest logit of 1; 1e-6 was measured
SOFTMAX_TOLERANCE = 1e-5  # of float32, for logits over the temperature of up to 100
CERTIFIED = "certified"  # the status of a file whose run is as it was measured
_FLIPS = 2  # by which an accuracy may differ on another machine and be called the same
_LOSS = 0.005  # by which a log loss may, likewise, of 1 + the loss
_HINT = "its certificate is refused: export it anew; if that fails, too, report it as a bug"


def compare_outputs(
    exported: Outputs, reference: Outputs, labels: np.ndarray, temperature: float
) -> dict[str, Any]:
    """Compare two networks on the same images.

    Args:
        exported: of the exported network
        reference: of the network in the laboratory
        labels: the images' classes (N,)
        temperature: divides the logits before the softmax

    Returns:
        ``n``, ``max_logit_difference``, ``max_probability_difference``, ``largest_logit`` (of the
        reference, in magnitude), ``softmax_error`` (how far the exported probabilities are from the
        softmax of the exported logits, computed here) and ``softmax_tolerance``, ``n_flips``
        (predictions that differ), ``n_gained`` and ``n_lost`` (that became right and wrong),
        ``accuracy`` and ``reference_accuracy`` with their Wilson intervals, ``log_loss`` and
        ``reference_log_loss``, ``gain`` with its interval (see ``paired_gain``) and ``at_least``,
        its one-sided bound.
    """
    guesses, reference_guesses = (outputs.logits.argmax(1) for outputs in (exported, reference))
    right, reference_right = guesses == labels, reference_guesses == labels
    n, n_right, n_reference = len(labels), int(right.sum()), int(reference_right.sum())
    n_gained = int((right & ~reference_right).sum())
    n_lost = int((reference_right & ~right).sum())
    gain = paired_gain(right, reference_right)
    largest = float(np.abs(reference.logits).max())
    softmax = scaled_softmax(exported.logits, temperature)
    return {
        "n": n,
        "max_logit_difference": _distance(exported.logits, reference.logits),
        "max_probability_difference": _distance(exported.probabilities, reference.probabilities),
        "largest_logit": largest,
        "softmax_error": _distance(exported.probabilities, softmax),
        "softmax_tolerance": SOFTMAX_TOLERANCE * max(1.0, largest / temperature / 100),
        "n_flips": int((guesses != reference_guesses).sum()),
        "n_gained": n_gained,
        "n_lost": n_lost,
        "accuracy": n_right / n,
        "interval": wilson_interval(n_right, n),
        "log_loss": log_loss(exported.logits, labels, temperature),
        "reference_accuracy": n_reference / n,
        "reference_interval": wilson_interval(n_reference, n),
        "reference_log_loss": log_loss(reference.logits, labels, temperature),
        "gain": gain["gain"],
        "gain_interval": gain["interval"],
        "at_least": lower_bound_of_gain(n_gained, n_lost, n),
    }


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max())  # NaN where one is


def tolerance(figures: dict[str, Any]) -> float:
    """Return how far logits may differ by rounding, from what ``compare_outputs`` returned."""
    bound: float = TOLERANCE * max(1.0, figures["largest_logit"])
    return bound


def require_calibrated(figures: dict[str, Any]) -> None:
    """Refuse probabilities that are not the softmax of the logits over the run's temperature.

    Raises:
        ExportError: one differs by more than rounding, or is no number
    """
    error, bound = figures["softmax_error"], figures["softmax_tolerance"]
    if not error <= bound:  # NaN is refused, too
        raise ExportError(
            f"the file's probabilities are not the softmax of its logits at the run's temperature: "
            f"one differs by {error:.3g}, which rounding does not explain (at most {bound:.2g})",
            _HINT,
        )


def require_equal(figures: dict[str, Any]) -> None:
    """Refuse an exported network that is not the run's, computed in the same arithmetic.

    Raises:
        ExportError: a logit differs by more than rounding, or is no number
    """
    difference, bound = figures["max_logit_difference"], tolerance(figures)
    if not difference <= bound:  # NaN is refused, too
        raise ExportError(
            f"the file's network is not the run's: a logit differs by {difference:.3g}, which "
            f"rounding does not explain (at most {bound:.2g}), and {_count_flips(figures)}",
            _HINT,
        )


def is_inferior(figures: dict[str, Any], margin: float) -> bool:
    """Return whether a network may be worse than the run by more than the margin, in points.

    It may where the one-sided 95 % bound of the paired difference lies below the margin.
    """
    return not figures["at_least"] > -margin / 100


def require_not_inferior(figures: dict[str, Any], margin: float) -> None:
    """Refuse a quantized network that may be worse than the run by more than the margin.

    Args:
        figures: what ``compare_outputs`` returned
        margin: in points of accuracy

    Raises:
        ExportError: see ``is_inferior``
    """
    if is_inferior(figures, margin):
        figure = f"{percent(figures['accuracy'])} instead of "
        figure += percent(figures["reference_accuracy"])
        raise ExportError(
            f"the quantized network is not shown to be within {margin:g} points of the run: "
            f"{figure}, which is {points(figures['gain'])} points, and with 95 % confidence no "
            f"less than {points(figures['at_least'])} ({_count_flips(figures)})",
            "export without --quantize; a --margin is chosen by what you can bear, not by what "
            "passes, and later certificates say what was refused",
        )


def same_accuracy(a: float, b: float, n: int) -> bool:
    """Return whether two accuracies differ by so little as another machine may round.

    Args:
        a: one accuracy
        b: the other one
        n: images, of both
    """
    return abs(a - b) * n < _FLIPS + 0.5


def find_status(figures: dict[str, Any]) -> str:
    """Return ``certified``, or that a run no longer is what result.json says of it.

    Args:
        figures: ``against_run``, ``images`` and ``measured``: what result.json has of these images
    """
    run, result = figures["against_run"], figures["measured"]
    accuracy, loss = run["reference_accuracy"], run["reference_log_loss"]
    is_as_measured = result is None or (
        same_accuracy(accuracy, result["accuracy"], figures["images"]["n"])
        and abs(loss - result["log_loss"]) <= _LOSS * (1 + loss)
    )
    return CERTIFIED if is_as_measured else "NOT AS MEASURED"


def claim(certificate: dict[str, Any]) -> str:
    """Return what a file is to its run, as words between the two."""
    if certificate["status"] != CERTIFIED:
        words = "it gives what the weights give here, and not the figures that were measured of"
        return f"is not certified ({certificate['status']}): {words}"
    if certificate["against_float32"]:
        return "is the network of"
    return f"is not inferior, within {certificate['margin_points']:g} points, to"


def describe(certificate: dict[str, Any]) -> list[str]:
    """Return in sentences what a certificate, or the figures of a check, say."""
    run, images = certificate["against_run"], certificate["images"]
    low, high = (points(bound) for bound in run["gain_interval"])
    lines = [] if certificate["status"] == CERTIFIED else [_describe_change(certificate)]
    lines += [
        f"{images['split']} accuracy {percent(run['accuracy'])} on {images['data']} (95 % interval "
        f"{interval(run['interval'])}, n = {count(images['n'])})",
        f"the run, in {run['precision']}: {percent(run['reference_accuracy'])}, so "
        f"{points(run['gain'])} points (95 % interval {low} to {high}), "
        f"{_count_flips(run)} of {count(images['n'])}",
    ]
    if float32 := certificate["against_float32"]:
        lines.append(
            f"the run in float32: logits differ by at most "
            f"{float32['max_logit_difference']:.2g} (rounding explains {tolerance(float32):.2g}), "
            f"probabilities by {float32['max_probability_difference']:.2g}, {_count_flips(float32)}"
        )
    else:
        lines.append(
            f"not inferior within {certificate['margin_points']:g} points: with 95 % confidence no "
            f"less than {points(run['at_least'])} points; log loss {run['log_loss']:.4f} instead "
            f"of {run['reference_log_loss']:.4f}"
        )
    return lines + _describe_images(certificate)


def _describe_images(certificate: dict[str, Any]) -> list[str]:
    """Return what to know of the images, and of what was measured and refused before."""
    images, lines = certificate["images"], list[str]()
    if images["split"] == "train":
        lines.append("training images: this accuracy says nothing of other images")
    if images["split"] == "val":
        lines.append("chosen on these images: checkpoint, temperature, threshold; they flatter it")
    if test := certificate["facts"]["run_test"]:
        lines.append(
            f"test accuracy of the run, when it was measured: {percent(test['accuracy'])} (95 % "
            f"interval {interval(test['interval'])}, n = {count(test['n'])})"
        )
    for refusal in certificate.get("refused", []):
        lines.append(
            f"refused before, {refusal['time']}: a margin of {refusal['margin_points']:g} points, "
            f"on {refusal['split']} no less than {points(refusal['at_least'])}"
        )
    return lines


def _describe_change(certificate: dict[str, Any]) -> str:
    """Return how a run differs from what result.json says of it."""
    run, result = certificate["against_run"], certificate["measured"]
    return (
        f"{certificate['status']}: result.json has {percent(result['accuracy'])} and a log loss of "
        f"{result['log_loss']:.4f} on these images; here the run itself has "
        f"{percent(run['reference_accuracy'])} and {run['reference_log_loss']:.4f}"
    )


def _count_flips(figures: dict[str, Any]) -> str:
    n = figures["n_flips"]
    return "1 prediction flips" if n == 1 else f"{n:,} predictions flip"
