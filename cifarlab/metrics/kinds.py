"""Metrics: functions from the logits of a split to a number.

``best``, early stopping, the plateau, studies, searches and comparisons take any of them by name.
"""

import math
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BeforeValidator, Field, SerializeAsAny

from cifarlab.config.family import Family
from cifarlab.config.plugins import plugin_errors
from cifarlab.system.errors import RecipeError
from cifarlab.system.formatting import NOTHING

if TYPE_CHECKING:
    import numpy as np


class MetricFacts(NamedTuple):
    """What a table and a figure need to know of a metric, without its code.

    ``words`` are the name in texts where they are others; ``of_split`` is false for training time.
    """

    name: str = "accuracy"
    higher_is_better: bool = True
    percent: bool = True
    words: str = ""
    of_split: bool = True

    @property
    def title(self) -> str:
        """The name in texts."""
        return self.words or self.name.replace("_", " ")

    def title_on(self, split: str) -> str:
        """The title with the name of the split that it is measured on, if it is of a split."""
        return f"{split} {self.title}" if self.of_split else self.title

    @property
    def axis(self) -> str:
        """The title with the unit."""
        return f"{self.title} (%)" if self.percent else self.title

    @property
    def factor(self) -> int:
        """The factor on values in texts and figures."""
        return 100 if self.percent else 1

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return 1 if self.higher_is_better else -1

    def number(self, value: float | None, sign: str = "") -> str:
        """Return a value as in tables; ``sign`` is ``+`` for differences."""
        digits = 2 if self.percent else 4
        return NOTHING if value is None else format(self.factor * value, f"{sign}.{digits}f")

    def interval(self, bounds: tuple[float, float] | None, sign: str = "") -> str:
        """Return an interval as in tables; ``sign`` is ``+`` for differences."""
        return NOTHING if bounds is None else " to ".join(self.number(end, sign) for end in bounds)

    def text(self, value: float | None) -> str:
        """Return a value with its unit."""
        return self.number(value) + (" %" if self.percent and value is not None else "")

    def gap(self, value: float) -> str:
        """Return a difference with its unit: 0.0123 as ``1.2 points``; small ones with digits."""
        if not self.percent:
            return f"{value:.2g}"
        points = 100 * value
        return f"{points:.1f} points" if abs(points) >= 0.95 else f"{points:.2f} points"


ACCURACY = MetricFacts()


class MetricConfig(Family):
    """A pure function of logits float32 (N, K) and labels int64 (N,), with its direction."""

    higher_is_better: ClassVar[bool] = True
    percent: ClassVar[bool] = False  # whether 0..1 is written in per cent, and a gap in points

    @abstractmethod
    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return the metric of one or more images."""

    def image_values(self, logits: "np.ndarray", labels: "np.ndarray") -> "np.ndarray | None":
        """Return the value of each image (N,), whose mean the metric is; None: it is no mean."""
        return None

    def check(self, classes: int) -> None:
        """Raise RecipeError where so many classes would make the metric useless."""

    @property
    def name(self) -> str:
        """The name in metrics log, result and tables, the kind with the settings that differ."""
        settings = self.model_dump(exclude_defaults=True)
        text = ", ".join(f"{key}={value}" for key, value in settings.items() if key != "kind")
        return f"{self.kind}({text})" if text else self.kind

    @property
    def facts(self) -> MetricFacts:
        """What a table needs to know of the metric."""
        return MetricFacts(self.name, self.higher_is_better, self.percent)

    def is_better(self, value: float, best: float | None) -> bool:
        """Return whether a value improves on the best one so far; always, if that is None."""
        if best is None:
            return True
        return value > best if self.higher_is_better else value < best


class Accuracy(MetricConfig):
    """The fraction of images whose class is the likeliest."""

    kind: Literal["accuracy"] = "accuracy"
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return the fraction, 0 to 1."""
        return float(self.image_values(logits, labels).mean())

    def image_values(self, logits: "np.ndarray", labels: "np.ndarray") -> "np.ndarray":
        """Return 1 for each image whose class is the likeliest, else 0."""
        right: np.ndarray = logits.argmax(1) == labels
        return right.astype(float)


class BalancedAccuracy(MetricConfig):
    """The mean of the classes' accuracies, of those with images (as scikit-learn's)."""

    kind: Literal["balanced_accuracy"] = "balanced_accuracy"
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return the mean, 0 to 1."""
        n_correct, n_images, _ = _counts(logits, labels)
        return float((n_correct[n_images > 0] / n_images[n_images > 0]).mean())


class MacroF1(MetricConfig):
    """The mean of the classes' F1 scores, of those with images or predictions."""

    kind: Literal["macro_f1"] = "macro_f1"
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return the mean, 0 to 1."""
        n_correct, n_images, n_predicted = _counts(logits, labels)
        nonempty = n_images + n_predicted > 0
        return float((2 * n_correct[nonempty] / (n_images + n_predicted)[nonempty]).mean())


class LogLoss(MetricConfig):
    """Mean negative log-likelihood of the true class, in nats."""

    kind: Literal["log_loss"] = "log_loss"
    higher_is_better: ClassVar[bool] = False

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return the mean, 0 or more."""
        from cifarlab.metrics.calibration import log_loss

        return log_loss(logits, labels)

    def image_values(self, logits: "np.ndarray", labels: "np.ndarray") -> "np.ndarray":
        """Return the loss of each image."""
        from cifarlab.metrics.calibration import image_losses

        return image_losses(logits, labels)


class CalibrationError(MetricConfig):
    """Expected difference of confidence and accuracy over 15 bins (Guo et al. 2017, section 2)."""

    kind: Literal["calibration_error"] = "calibration_error"
    higher_is_better: ClassVar[bool] = False
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return the error, 0 to 1."""
        from cifarlab.metrics.calibration import calibration

        return float(calibration(logits, labels)["ece"])


class TopK(MetricConfig):
    """The fraction of images whose class is among the k likeliest."""

    kind: Literal["top_k"] = "top_k"
    percent: ClassVar[bool] = True
    k: int = Field(5, ge=1, description="how many of the likeliest classes count")

    def check(self, classes: int) -> None:
        """Refuse a k that makes the metric always 1.

        Raises:
            RecipeError: for a k that is not below the number of classes
        """
        if self.k >= classes:
            what = f"the metric {self.name} is always 1 with {classes} classes"
            raise RecipeError(what, f"take k below {classes}, or another metric")

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return the fraction, 0 to 1; of classes with equal logits the first is likelier."""
        return float(self.image_values(logits, labels).mean())

    def image_values(self, logits: "np.ndarray", labels: "np.ndarray") -> "np.ndarray":
        """Return 1 for each image whose class is among them, else 0."""
        order = (-logits).argsort(axis=1, kind="stable")[:, : self.k]
        is_hit: np.ndarray = (order == labels[:, None]).any(1)
        return is_hit.astype(float)


def _counts(logits: "np.ndarray", labels: "np.ndarray") -> "list[np.ndarray]":
    """Return counts of each class (K,): images predicted right, images, predictions."""
    import numpy as np

    predicted = logits.argmax(1)
    parts = (labels[predicted == labels], labels, predicted)
    return [np.bincount(part, minlength=logits.shape[1]) for part in parts]


def measure_metrics(
    metrics: Iterable[MetricConfig], logits: "np.ndarray", labels: "np.ndarray"
) -> dict[str, float]:
    """Return the metrics' values by their names.

    Args:
        metrics: which of them
        logits: (N, K)
        labels: (N,)

    Raises:
        RecipeError: for a value that is not finite
    """
    values = {m.name: float(plugin_errors(m)(m.value)(logits, labels)) for m in metrics}
    for name, value in values.items():
        if not math.isfinite(value):
            what = f"the metric {name} of {len(labels)} images is {value}"
            raise RecipeError(what, "let its value be a finite number, or take another metric")
    return values


def shipped_metrics() -> list[MetricConfig]:
    """Return every shipped metric, with its defaults."""
    return [kind.model_validate({}) for kind in MetricConfig.kinds().values() if kind.is_shipped()]


def _as_config(metric: Any) -> Any:
    return {"kind": metric} if isinstance(metric, str) else metric


# a metric with its settings, or its name alone
Metric = Annotated[SerializeAsAny[MetricConfig], BeforeValidator(_as_config)]
