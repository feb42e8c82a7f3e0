"""What a run is while it is trained."""

from dataclasses import dataclass, field

from torch import nn

from cifarlab.data.dataset import Dataset, Subset
from cifarlab.data.loader import Loader
from cifarlab.inference.predictor import Predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.losses.build import Losses
from cifarlab.models.classifier import Classifier
from cifarlab.models.layers import BatchNorms
from cifarlab.models.roles import parameter_roles
from cifarlab.optim.schedules import lr_factor
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import Compute
from cifarlab.system.processes import Processes
from cifarlab.system.signals import StopRequest
from cifarlab.system.threads import Threads
from cifarlab.training.checkpoint import Checkpoints
from cifarlab.training.clock import Clock
from cifarlab.training.plan import BatchPlan
from cifarlab.training.state import State


@dataclass
class Run:
    """All that the loop needs; only ``state`` and ``clock`` change.

    ``network`` is the state's classifier as training calls it, compiled or not. ``frozen`` has what
    is no longer trained from which step on; ``batch_norms`` have the momentum of a step of one
    pass; ``stop`` says whether somebody wants the run to end.
    """

    recipe: Recipe
    folder: RunFolder
    command: str
    processes: Processes
    compute: Compute
    threads: Threads
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
    stop: StopRequest
    notes: list[str] = field(default_factory=list)

    @property
    def predictor(self) -> Predictor:
        """The classifier in its present state."""
        dataset = self.dataset
        return Predictor(
            self.state.evaluated,
            dataset.classes,
            dataset.image_shape,
            self.compute,
            self.recipe.evaluation.tta_threshold,
        )

    @property
    def body_parameters(self) -> list[nn.Parameter]:
        """All trainable parameters but those of the last layer."""
        roles = parameter_roles(self.state.classifier)
        return [p for role, parameters in roles.items() if role != "head" for p in parameters]

    @property
    def about(self) -> WeightsFile:
        """What a weights file of the present state says."""
        return WeightsFile(
            self.recipe.model,
            self.dataset.classes,
            self.dataset.image_shape,
            self.compute.precision,
            self.recipe.data.normalization,
            self.state.epoch,
            self.state.step,
            self.recipe.evaluation.tta_threshold,
        )

    def lr_factor(self, step: int) -> float:
        """Return the factor on the peak learning rates at that step, counted from 0."""
        plan = self.plan
        planned = lr_factor(self.recipe.schedule, step, plan.segments, plan.steps_per_epoch)
        return planned * self.state.schedule.factor
