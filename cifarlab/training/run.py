"""What a run is while it is trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from torch import nn

from cifarlab.data.dataset import Dataset, Progress, Subset
from cifarlab.data.loader import Loader
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.losses.build import Losses
from cifarlab.models.classifier import Classifier
from cifarlab.models.layers import BatchNorms
from cifarlab.models.network import parameter_roles
from cifarlab.optim.schedules import lr_factor
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import Compute
from cifarlab.system.processes import SINGLE_PROCESS, Processes
from cifarlab.system.signals import StopRequest
from cifarlab.training.callback import Callback
from cifarlab.training.checkpoint import Checkpoints
from cifarlab.training.clock import Clock
from cifarlab.training.plan import BatchPlan
from cifarlab.training.state import State


@dataclass
class Session:
    """How a run is trained this time; nothing of it decides the outcome. See ``train``."""

    resume: bool = False
    callbacks: Sequence[Callback] = ()
    command: str = ""
    progress: Progress | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    processes: Processes = SINGLE_PROCESS
    threads: int | None = None


@dataclass(kw_only=True)
class Run(Session):
    """All that the loop needs; only ``state`` and ``clock`` change.

    ``network`` is the state's classifier as training calls it, compiled or not. ``frozen`` has what
    is no longer trained from which step on; ``batch_norms`` have the momentum of a step of one
    pass; ``threads_note`` says why there are so few threads.
    """

    recipe: Recipe
    folder: RunFolder
    compute: Compute
    threads_note: str
    dataset: Dataset
    loader: Loader
    validation: Subset | None
    plan: BatchPlan
    frozen: list[tuple[int, list[nn.Parameter]]]
    batch_norms: BatchNorms
    state: State
    network: Classifier
    losses: Losses
    checkpoints: Checkpoints
    clock: Clock
    notes: list[str] = field(default_factory=list)

    @property
    def predictor(self) -> Predictor:
        """The classifier in its present state."""
        dataset, threshold = self.dataset, self.recipe.evaluation.tta_threshold
        shape = dataset.image_shape
        return Predictor(self.state.evaluated, dataset.classes, shape, self.compute, threshold)

    @property
    def about(self) -> WeightsFile:
        """What a weights file of the present state says."""
        recipe, dataset = self.recipe, self.dataset
        network = recipe.model, dataset.classes, dataset.image_shape, self.compute.precision
        when, threshold = (self.state.epoch, self.state.step), recipe.evaluation.tta_threshold
        return WeightsFile(*network, recipe.data.normalization, *when, threshold)

    @cached_property
    def body_parameters(self) -> list[nn.Parameter]:
        """All parameters but the head's."""
        roles = parameter_roles(self.state.classifier).items()
        return [p for role, parameters in roles if role != "head" for p in parameters]

    def lr_factor(self, step: int) -> float:
        """Return the factor on the peak learning rates at that step, counted from 0."""
        plan, schedule = self.plan, self.recipe.schedule
        planned = lr_factor(schedule, step, plan.segments, plan.steps_per_epoch)
        return planned * self.state.schedule.factor
