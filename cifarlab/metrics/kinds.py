"""Metrics: what a split's logits are worth, as one number.

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

if TYPE_CHECKING:
    import numpy as np


class MetricFacts(NamedTuple):
    """What a table and a figure need to know of a metric, without its code."""

    name: str = "accuracy"
    higher_is_better: bool = True
    percent: bool = True

    @property
    def title(self) -> str:
        """The name as texts write it."""
        return self.name.replace("_", " ")

    @property
    def axis(self) -> str:
        """The title with the unit."""
        return f"{self.title} (%)" if self.percent else self.title

    @property
    def factor(self) -> int:
        """What values are multiplied by where they are shown."""
        return 100 if self.percent else 1

    @property
    def sign(self) -> int:
        """What makes more the better."""
        return 1 if self.higher_is_better else -1

    def number(self, value: float | None, sign: str = "") -> str:
        """Return a value as tables show it; ``sign`` is ``+`` for differences."""
        digits = 2 if self.percent else 4
        return "-" if value is None else format(self.factor * value, f"{sign}.{digits}f")

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
        """Return the metric of these images, of which there is one at least."""

    def check(self, classes: int) -> None:
        """Raise RecipeError where it can decide nothing of images of so many classes."""

    @property
    def name(self) -> str:
        """What it is called in metrics log, result and tables: its kind and changed settings."""
        changed = self.model_dump(exclude_defaults=True)
        settings = ", ".join(f"{key}={value}" for key, value in changed.items() if key != "kind")
        return f"{self.kind}({settings})" if settings else self.kind

    @property
    def facts(self) -> MetricFacts:
        """What a table needs to know of it."""
        return MetricFacts(self.name, self.higher_is_better, self.percent)

    def is_better(self, value: float, than: float | None) -> bool:
        """Return whether ``value`` improves on an earlier one; on none, always."""
        if than is None:
            return True
        return value > than if self.higher_is_better else value < than


class Accuracy(MetricConfig):
    """The fraction of images whose class is the likeliest."""

    kind: Literal["accuracy"] = "accuracy"
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return it, 0 to 1."""
        return float((logits.argmax(1) == labels).mean())


class BalancedAccuracy(MetricConfig):
    """The mean of the classes' accuracies, of those with images (as scikit-learn's)."""

    kind: Literal["balanced_accuracy"] = "balanced_accuracy"
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return it, 0 to 1."""
        correct, of_class, _ = _counts(logits, labels)
        return float((correct[of_class > 0] / of_class[of_class > 0]).mean())


class MacroF1(MetricConfig):
    """The mean of the classes' F1 scores, of those with images or predictions."""

    kind: Literal["macro_f1"] = "macro_f1"
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return it, 0 to 1."""
        correct, of_class, predicted = _counts(logits, labels)
        seen = of_class + predicted > 0
        return float((2 * correct[seen] / (of_class + predicted)[seen]).mean())


class LogLoss(MetricConfig):
    """Mean negative log-likelihood of the true class, in nats."""

    kind: Literal["log_loss"] = "log_loss"
    higher_is_better: ClassVar[bool] = False

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return it, 0 or more."""
        from cifarlab.metrics.calibration import log_loss

        return log_loss(logits, labels)


class CalibrationError(MetricConfig):
    """Expected difference of confidence and accuracy over 15 bins (Guo et al. 2017, section 2)."""

    kind: Literal["calibration_error"] = "calibration_error"
    higher_is_better: ClassVar[bool] = False
    percent: ClassVar[bool] = True

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return it, 0 to 1."""
        from cifarlab.metrics.calibration import calibration

        return float(calibration(logits, labels)["ece"])


class TopK(MetricConfig):
    """The fraction of images whose class is among the k likeliest."""

    kind: Literal["top_k"] = "top_k"
    percent: ClassVar[bool] = True
    k: int = Field(5, ge=1, description="how many of the likeliest classes count")

    def check(self, classes: int) -> None:
        """Raise RecipeError where it is always 1."""
        if self.k >= classes:
            what = f"the metric {self.name} is always 1 with {classes} classes"
            raise RecipeError(what, f"take k below {classes}, or another metric")

    def value(self, logits: "np.ndarray", labels: "np.ndarray") -> float:
        """Return it, 0 to 1. Of classes with equal logits the first counts as likelier."""
        order = (-logits).argsort(axis=1, kind="stable")[:, : self.k]
        return float((order == labels[:, None]).any(1).mean())


def _counts(logits: "np.ndarray", labels: "np.ndarray") -> "list[np.ndarray]":
    """By class (K,): images predicted right, images, predictions."""
    import numpy as np

    predicted = logits.argmax(1)
    parts = (labels[predicted == labels], labels, predicted)
    return [np.bincount(part, minlength=logits.shape[1]) for part in parts]


def measure_metrics(
    metrics: Iterable[MetricConfig], logits: "np.ndarray", labels: "np.ndarray"
) -> dict[str, float]:
    """Return the metrics by their names. Raises RecipeError for one that is no finite number."""
    values = {m.name: float(plugin_errors(m)(m.value)(logits, labels)) for m in metrics}
    for name, value in values.items():
        if not math.isfinite(value):
            raise RecipeError(
                f"the metric {name} of {len(labels)} images is {value}",
                "let its value be a finite number, or take another metric",
            )
    return values


def shipped_metrics() -> list[MetricConfig]:
    """Return every metric that cifarlab brings, with its defaults."""
    return [kind.model_validate({}) for kind in MetricConfig.kinds().values() if kind.is_shipped()]


def _named(metric: Any) -> Any:
    return {"kind": metric} if isinstance(metric, str) else metric


# a metric with its settings, or its name alone
Metric = Annotated[SerializeAsAny[MetricConfig], BeforeValidator(_named)]
