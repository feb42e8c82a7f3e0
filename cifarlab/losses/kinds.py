"""Losses: what training makes small, as a mean over images.

The loss of a mixed image (mixup, CutMix) is the sum of the losses with both labels, by their
fractions: Zhang et al. 2018, figure 1; Yun et al. 2019, algorithm A1. A loss for which that sum is
right says so by ``mixes``; any other is refused beside a mix.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, SerializeAsAny

from cifarlab.config.base import Fraction, PositiveFloat
from cifarlab.config.family import Family
from cifarlab.system.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

# logits (N, K) and labels int64 (N,) to the loss of each image (N,)
LossFunction: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"


class LossConfig(Family):
    """What is minimised; ``mixes``: whether it may be summed over both labels of a mixed image."""

    mixes: ClassVar[bool] = False

    @abstractmethod
    def build(self, classes: Sequence[str], counts: Sequence[int]) -> LossFunction:
        """Return a function, or an nn.Module, from logits and labels to the loss of each image.

        ``counts`` are the training images of each class. Raises RecipeError for settings that
        don't fit these classes. A result with a method ``mean`` gives the mean itself. It keeps
        nothing from step to step: no checkpoint has it.
        """

    def without_smoothing(self) -> Self:
        """Return the loss that hard examples are selected by."""
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

        Raises RecipeError for a class without training images, and for weights that are all 1.
        """
        if self.class_weights is None:
            return None
        present = {name for name, count in zip(classes, counts, strict=True) if count}
        if self.class_weights == "balanced":
            mean = sum(counts) / len(present)
            weights = [mean / count if count else 1.0 for count in counts]
        else:
            if absent := set(self.class_weights) - present:
                raise RecipeError(
                    f"loss.class_weights: no training image is of class {sorted(absent)[0]!r}",
                    f"the classes: {', '.join(classes[:12])}{', ...' if len(classes) > 12 else ''}",
                )
            weights = [self.class_weights.get(name, 1.0) for name in classes]
        if all(weight == 1 for weight in weights):
            raise RecipeError(
                "loss.class_weights changes nothing: the weight of every class is 1",
                "leave it out, or take other weights",
            )
        return weights


class SmoothedLossConfig(WeightedLossConfig):
    """What losses with smoothed labels share (Szegedy et al. 2016, section 7).

    Both are linear in the target, so that the sum is the loss with the mixed target.
    """

    mixes: ClassVar[bool] = True
    label_smoothing: Fraction = Field(
        0.0, description="fraction of the target that is spread over all classes"
    )

    def without_smoothing(self) -> Self:
        """Return the same without smoothing, which adds most to the loss of sure predictions."""
        return self.model_copy(update={"label_smoothing": 0.0})


class CrossEntropy(SmoothedLossConfig):
    """Cross-entropy with the softmax."""

    kind: Literal["cross_entropy"] = "cross_entropy"

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> LossFunction:
        """Return the loss of each image in nats."""
        from torch.nn.functional import cross_entropy

        from cifarlab.losses.modules import WeightedLoss

        mean = partial(cross_entropy, label_smoothing=self.label_smoothing)
        return WeightedLoss(partial(mean, reduction="none"), self.weights(classes, counts), mean)


class Focal(WeightedLossConfig):
    """Cross-entropy times (1 - p) ** gamma, p of the true class (Lin et al. 2017, equation 4).

    It is refused beside a mix: p of one label of a mixed image is never near 1, so that every
    such image would count as a hard one.
    """

    kind: Literal["focal"] = "focal"
    gamma: float = Field(2.0, gt=0, le=10, description="how little sure predictions count")

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> LossFunction:
        """Return the loss of each image in nats."""
        from cifarlab.losses.modules import WeightedLoss, focal

        return WeightedLoss(partial(focal, gamma=self.gamma), self.weights(classes, counts))


class BinaryCrossEntropy(SmoothedLossConfig):
    """A yes or no for each class, summed over them (Wightman et al. 2021, arXiv:2110.00476).

    Confidences stay those of the softmax over the logits.
    """

    kind: Literal["binary_cross_entropy"] = "binary_cross_entropy"

    def build(self, classes: Sequence[str], counts: Sequence[int]) -> LossFunction:
        """Return the loss of each image in nats."""
        from cifarlab.losses.modules import WeightedLoss, binary_cross_entropy

        losses = partial(binary_cross_entropy, label_smoothing=self.label_smoothing)
        return WeightedLoss(losses, self.weights(classes, counts))


Loss = SerializeAsAny[LossConfig]
