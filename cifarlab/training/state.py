"""What training changes: weights, optimizer, counters. A checkpoint has all of it."""

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.optim import Optimizer

from cifarlab.models.classifier import Classifier
from cifarlab.optim.averaging import Averager
from cifarlab.optim.schedules import ScheduleState
from cifarlab.system.device import widest_float


@dataclass(frozen=True)
class BestEpoch:
    """The epoch, counted from 1, with the best value of a metric; of equal ones the first.

    ``weights_sha256`` is the digest of the weights file that the epoch saved; empty until then.
    """

    epoch: int
    value: float
    weights_sha256: str = ""


ACTIVITIES = ("compile", "train", "evaluate")  # each has its own time on a run's clock
NEVER = 2**62  # a step that no run reaches


@dataclass
class Totals:
    """Sums over the images of the present epoch; they stay on the device until it ends.

    ``bad_step`` is the first step whose loss was not finite, NEVER while there is none.
    """

    loss: Tensor
    correct: Tensor
    bad_step: Tensor
    n_images: int = 0

    @classmethod
    def zero(cls, device: torch.device) -> "Totals":
        """Return the sums before an epoch's first step."""
        return cls(
            torch.zeros((), dtype=widest_float(device), device=device),
            torch.zeros((), dtype=torch.int64, device=device),
            torch.full((), NEVER, dtype=torch.int64, device=device),
        )

    def add(self, loss: Tensor, correct: Tensor, images: int, step: int) -> None:
        """Add a batch.

        Args:
            loss: mean over its images, a scalar tensor
            correct: number of images that were predicted correctly, a scalar tensor
            images: number of images
            step: that the batch was trained on at
        """
        self.loss += loss.to(self.loss.dtype) * images
        self.correct += correct
        self.bad_step.clamp_(max=torch.where(loss.isfinite(), NEVER, step))
        self.n_images += images


@dataclass
class State:
    """All that a step changes; ``step`` and ``epoch`` count those that are complete.

    ``best`` is the best epoch by the recipe's ``evaluation.metric``, ``monitored`` the best by the
    metric that early stopping watches.
    """

    classifier: Classifier
    optimizer: Optimizer
    totals: Totals
    averager: Averager[Classifier] | None = None
    step: int = 0
    epoch: int = 0
    best: BestEpoch | None = None
    monitored: BestEpoch | None = None
    schedule: ScheduleState = field(default_factory=ScheduleState)
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ACTIVITIES, 0.0))

    @property
    def eval_classifier(self) -> Classifier:
        """The network that is evaluated and saved: of averaged weights, once there are any."""
        if self.averager and self.step >= self.averager.first_step:
            return self.averager.average
        return self.classifier

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.totals.loss.device
