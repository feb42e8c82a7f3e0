"""Losses, whose mean over images training minimizes.

The loss of a mixed image (mixup, CutMix) is the sum of the losses with both labels, weighted by
their fractions: Zhang et al. 2018, figure 1; Yun et al. 2019, algorithm A1. ``mixes`` is true for a
loss for which that sum is right; any other is refused together with a mix.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Fraction, PositiveFloat
from cifarlab.config.family import Family
from cifarlab.system.errors import RecipeError

if TYPE_CHECKING:
    from cifarlab.losses.modules import LossFunction


class LossConfig(Family):
    """A loss; ``mixes``: whether it may be summed over both labels of a mixed image."""

    mixes: ClassVar[bool] = False

    @abstractmethod
    def build(self, classes: Sequence[str], counts: Sequence[int]) -> "LossFunction":
        """Return a function, or an nn.Module, from logits and labels to the loss of each image.

        If it has a method ``mean``, that is used for the mean. It must keep nothing from step to
        step, as no checkpoint has it.

        Args:
            classes: names of the K classes
            counts: training images of each class
        """

    def selection_loss(self) -> Self:
        """Return the loss by which hard examples are selected."""
        return self


class WeightedLossConfig(LossConfig):
    """What losses with weights for classes share."""

    class_weights: Literal["balanced"] | dict[str, PositiveFloat] | None = Field(
        None,
        description="a factor on the loss of each named class's images, 1 for the others; "
        "balanced: the mean number of images of a class over that of this one; null: none",
    )

    def weights(self, classes: Sequence[str], counts: Sequence[int]) -> list[float] | None:
        """Return the factor of each class, None where none is set.

        Raises:
            RecipeError: for a class without training images, and where all weights are 1
        """
        if self.class_weights is None:
            return None
        nonempty_classes = {name for name, count in zip(classes, counts, strict=True) if count}
        if self.class_weights == "balanced":
            mean = sum(counts) / len(nonempty_classes)
            weights = [mean / count if count else 1.0 for count in counts]
        else:
            if empty_classes := set(self.class_weights) - nonempty_classes:
                raise RecipeError(
                    f"loss.class_weights: no training image is of class {min(empty_classes)!r}",
                    f"the classes: {', '.join(classes[:12])}{', ...' if len(classes) > 12 else ''}",
                )
            weights = [self.class_weights.get(name, 1.0) for name in classes]
        if all(weight == 1 for weight in weights):
            what = "loss.class_weights changes nothing: the weight of every class is 1"
            raise RecipeError(what, "leave it out, or take other weights")
        return weights


class SmoothedLossConfig(WeightedLossConfig):
    """What losses with smoothed labels share (Szegedy et al. 2016, section 7).

    They are linear in the target, so the sum is the loss with the mixed target.
    """

    mixes: ClassVar[bool] = True
    label_smoothing: Fraction = Field(
        0.0, description="fraction of the target that is spread over all classes"
    )

    def selection_loss(self) -> Self:
        """Return the loss without smoothing, which adds most to the loss of sure predictions."""
        return self.model_copy(update={"label_smoothing": 0.0})


class CrossEntropy(SmoothedLossConfig):
    """Cross-entropy with the softmax."""

    kind: Literal["cross_entropy"] = "cross_entropy"

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> "LossFunction":
        """Return the loss of each image in nats."""
        from torch.nn.functional import cross_entropy

        from cifarlab.losses.modules import WeightedLoss

        mean = partial(cross_entropy, label_smoothing=self.label_smoothing)
        return WeightedLoss(partial(mean, reduction="none"), self.weights(classes, counts), mean)


class Focal(WeightedLossConfig):
    """Cross-entropy times (1 - p) ** gamma, p of the true class (Lin et al. 2017, equation 4).

    It is refused together with a mix: p of a single label of a mixed image is never near 1, so
    every such image would count as hard.
    """

    kind: Literal["focal"] = "focal"
    gamma: float = Field(2.0, gt=0, le=10, description="how little sure predictions count")

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> "LossFunction":
        """Return the loss of each image in nats."""
        from cifarlab.losses.modules import WeightedLoss, focal_loss

        return WeightedLoss(partial(focal_loss, gamma=self.gamma), self.weights(classes, counts))


class BinaryCrossEntropy(SmoothedLossConfig):
    """Binary cross-entropy, summed over the classes (Wightman et al. 2021, arXiv:2110.00476).

    Confidences are still those of the softmax over the logits.
    """

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> "LossFunction":
        """Return the loss of each image in nats."""
        from cifarlab.losses.modules import WeightedLoss, binary_cross_entropy

        losses = partial(binary_cross_entropy, label_smoothing=self.label_smoothing)
        return WeightedLoss(losses, self.weights(classes, counts))


Loss = SerializeAsAny[LossConfig]
