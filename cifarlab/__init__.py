"""cifarlab: which recipe is better, by how much, and is that real?

    import cifarlab as lab
    run = lab.train("quickstart", {"optimizer.lr": 0.05})
    run.accuracy, run.history, run.plot.curves(), run.predict(images)

Each name is imported when it is first used, so that ``import cifarlab`` loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cifarlab.api import ComparisonTable as ComparisonTable
    from cifarlab.api import Evaluation as Evaluation
    from cifarlab.api import RunTable as RunTable
    from cifarlab.api import SearchTable as SearchTable
    from cifarlab.api import TrainedRun as TrainedRun
    from cifarlab.api import compare as compare
    from cifarlab.api import evaluate as evaluate
    from cifarlab.api import find_recipe as find_recipe
    from cifarlab.api import load_run as load_run
    from cifarlab.api import predict as predict
    from cifarlab.api import runs as runs
    from cifarlab.api import search as search
    from cifarlab.api import study as study
    from cifarlab.api import train as train
    from cifarlab.augment.kinds import AugmentationConfig as AugmentationConfig
    from cifarlab.augment.mixing import MixConfig as MixConfig
    from cifarlab.augment.policy import PolicyConfig as PolicyConfig
    from cifarlab.data.label_noise import LabelNoiseConfig as LabelNoiseConfig
    from cifarlab.data.samplers import SamplerConfig as SamplerConfig
    from cifarlab.data.sources import Arrays as Arrays
    from cifarlab.data.sources import SourceConfig as SourceConfig
    from cifarlab.experiments.search.definition import Search as Search
    from cifarlab.experiments.search.samplers import TrialSamplerConfig as TrialSamplerConfig
    from cifarlab.experiments.search.schedulers import TrialSchedulerConfig as TrialSchedulerConfig
    from cifarlab.experiments.study.definition import Study as Study
    from cifarlab.experiments.study.definition import StudyRow as StudyRow
    from cifarlab.losses.kinds import LossConfig as LossConfig
    from cifarlab.metrics.kinds import MetricConfig as MetricConfig
    from cifarlab.models.configs import ModelConfig as ModelConfig
    from cifarlab.models.norm_configs import NormConfig as NormConfig
    from cifarlab.optim.averaging import AveragingConfig as AveragingConfig
    from cifarlab.optim.optimizers import OptimizerConfig as OptimizerConfig
    from cifarlab.optim.schedules import ScheduleConfig as ScheduleConfig
    from cifarlab.recipes.schema import Recipe as Recipe
    from cifarlab.training.callback import Callback as Callback
    from cifarlab.training.callbacks import CallbackConfig as CallbackConfig

__version__ = "0.1.0"

_MODULES = {
    "cifarlab.api": "ComparisonTable Evaluation RunTable SearchTable TrainedRun compare evaluate "
    "find_recipe load_run predict runs search study train",
    "cifarlab.augment.kinds": "AugmentationConfig",
    "cifarlab.augment.mixing": "MixConfig",
    "cifarlab.augment.policy": "PolicyConfig",
    "cifarlab.data.label_noise": "LabelNoiseConfig",
    "cifarlab.data.samplers": "SamplerConfig",
    "cifarlab.data.sources": "Arrays SourceConfig",
    "cifarlab.experiments.search.definition": "Search",
    "cifarlab.experiments.search.samplers": "TrialSamplerConfig",
    "cifarlab.experiments.search.schedulers": "TrialSchedulerConfig",
    "cifarlab.experiments.study.definition": "Study StudyRow",
    "cifarlab.losses.kinds": "LossConfig",
    "cifarlab.metrics.kinds": "MetricConfig",
    "cifarlab.models.configs": "ModelConfig",
    "cifarlab.models.norm_configs": "NormConfig",
    "cifarlab.optim.averaging": "AveragingConfig",
    "cifarlab.optim.optimizers": "OptimizerConfig",
    "cifarlab.optim.schedules": "ScheduleConfig",
    "cifarlab.recipes.schema": "Recipe",
    "cifarlab.training.callback": "Callback",
    "cifarlab.training.callbacks": "CallbackConfig",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'cifarlab' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
