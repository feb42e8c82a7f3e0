"""A plug-in as a user would write it: a loss, a sampler and a metric of their own."""

from typing import ClassVar, Literal

from pydantic import Field

from cifarlab.data.samplers import SamplerConfig
from cifarlab.losses.kinds import LossConfig
from cifarlab.metrics.kinds import MetricConfig


class Hinge(LossConfig):
    """How far the true class's logit is from ``margin`` above the others' mean."""

    kind: Literal["made-hinge"] = "made-hinge"
    margin: float = Field(1.0, gt=0, description="what is far enough")

    def build(self, classes, counts):
        def loss(logits, labels):
            true = logits.gather(1, labels[:, None])[:, 0]
            return (self.margin + logits.mean(1) - true).clamp_min(0)

        return loss


class EveryOther(SamplerConfig):
    """The images of even position, each twice."""

    kind: Literal["made-every-other"] = "made-every-other"

    def build(self, training):
        import torch

        n = len(training)
        return lambda generator: 2 * torch.randint(0, n // 2, (n,), generator=generator)


class RarestClass(MetricConfig):
    """The error rate of the class with the fewest images."""

    kind: Literal["made-rarest"] = "made-rarest"
    higher_is_better: ClassVar[bool] = False

    def value(self, logits, labels):
        classes = sorted(set(labels.tolist()), key=lambda k: (labels == k).sum())
        return float((logits.argmax(1) != labels)[labels == classes[0]].mean())
