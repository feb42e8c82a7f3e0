"""A run in training: all that the loop, its steps and its callbacks need."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

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
from cifarlab.training.distillation import Teacher
from cifarlab.training.plan import BatchPlan
from cifarlab.training.state import State

Resume = bool | Literal["best"]  # whether to go on from the last checkpoint, or the best one


@dataclass
class Session:
    """How a run is trained this time; decides nothing of the outcome. See ``train``."""

    resume: Resume = False
    callbacks: Sequence[Callback] = ()
    command: str = ""
    progress: Progress | None = None
    stop: StopRequest = field(default_factory=StopRequest)
    processes: Processes = SINGLE_PROCESS
    threads: int | None = None


@dataclass(kw_only=True)
class Run(Session):
    """All that the loop needs; only ``state``, ``clock`` and ``notes`` change.

    ``network`` is the state's classifier as training calls it, compiled or not. ``freeze_schedule``
    has pairs of a step and the parameters that are frozen from it on. ``batch_norms`` are the
    layers whose momentum depends on the number of micro-batches. ``threads_note`` tells the user
    why there are so few threads.
    """

    recipe: Recipe
    folder: RunFolder
    compute: Compute
    dataset: Dataset
    loader: Loader
    validation: Subset | None
    plan: BatchPlan
    freeze_schedule: list[tuple[int, list[nn.Parameter]]]
    batch_norms: BatchNorms
    state: State
    network: Classifier
    losses: Losses
    checkpoints: Checkpoints
    clock: Clock
    teacher: Teacher | None = None
    threads_note: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def predictor(self) -> Predictor:
        """The classifier in its present state."""
        dataset, threshold = self.dataset, self.recipe.evaluation.tta_threshold
        network = self.state.eval_classifier, dataset.classes, dataset.image_shape
        return Predictor(*network, self.compute, threshold)

    @property
    def weights_file(self) -> WeightsFile:
        """The metadata of a weights file of the present state."""
        recipe, dataset = self.recipe, self.dataset
        network = recipe.model, dataset.classes, dataset.image_shape, self.compute.precision
        progress, threshold = (self.state.epoch, self.state.step), recipe.evaluation.tta_threshold
        rest = *progress, threshold, recipe.other_models
        return WeightsFile(*network, recipe.data.normalization, *rest)

    @cached_property
    def body_parameters(self) -> list[nn.Parameter]:
        """All parameters but the head's."""
        roles = parameter_roles(self.state.classifier).items()
        return [p for role, parameters in roles if role != "head" for p in parameters]

    def lr_factor(self, step: int) -> float:
        """Return the factor on the peak learning rates at ``step``, counted from 0."""
        plan, schedule = self.plan, self.recipe.schedule
        factor = lr_factor(schedule, step, plan.segments, plan.steps_per_epoch)
        return factor * self.state.schedule.factor
