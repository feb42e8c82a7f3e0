"""What training changes: weights, optimizer, counters. Saved whole, it is all that resume needs."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from cifarlab.models.classifier import Classifier
from cifarlab.optim.averaging import Averager
from cifarlab.optim.schedules import ScheduleState


@dataclass(frozen=True)
class Best:
    """The epoch, counted from 1, with the best value of a metric so far; ties: the first.

    ``weights_sha256`` is of the weights file as that epoch saved it, empty until then.
    """

    epoch: int
    value: float
    weights_sha256: str = ""


ACTIVITIES = ("compile", "train", "evaluate")  # what a run's clock tells apart
NEVER = 2**62  # a step that no run reaches


@dataclass
class Totals:
    """Sums over the images of the running epoch; they stay on the device until it ends.

    ``bad_step`` is the first step whose loss was not finite, NEVER while there is none.
    """

    loss: Tensor
    correct: Tensor
    bad_step: Tensor
    seen: int = 0

    @classmethod
    def zero(cls, device: torch.device) -> "Totals":
        """Before an epoch's first step."""
        return cls(
            torch.zeros((), dtype=torch.float64, device=device),
            torch.zeros((), dtype=torch.int64, device=device),
            torch.full((), NEVER, dtype=torch.int64, device=device),
        )

    def add(self, loss: Tensor, correct: Tensor, images: int, step: int) -> None:
        """Count the batch of ``step``: so many images, their mean ``loss``, ``correct`` of them."""
        self.loss += loss.double() * images
        self.correct += correct
        self.bad_step.clamp_(max=torch.where(loss.isfinite(), NEVER, step))
        self.seen += images


@dataclass
class State:
    """Everything that a step changes; ``step`` and ``epoch`` count what is complete.

    ``best`` is by the recipe's ``evaluation.metric``, ``monitored`` by what early stopping watches.
    """

    classifier: Classifier
    optimizer: Optimizer
    totals: Totals
    averager: Averager[Classifier] | None = None
    step: int = 0
    epoch: int = 0
    best: Best | None = None
    monitored: Best | None = None
    schedule: ScheduleState = field(default_factory=ScheduleState)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ACTIVITIES, 0.0))

    @property
    def evaluated(self) -> Classifier:
        """The weights that are judged and kept: the averaged ones once there are any."""
        if self.averager and self.step >= self.averager.first_step:
            return self.averager.average
        return self.classifier

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.totals.loss.device
