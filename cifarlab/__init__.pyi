# the public names: __init__.py imports each when it is first used
from .api import ComparisonTable as ComparisonTable
from .api import Evaluation as Evaluation
from .api import RunTable as RunTable
from .api import SearchTable as SearchTable
from .api import TrainedRun as TrainedRun
from .api import compare as compare
from .api import evaluate as evaluate
from .api import find_recipe as find_recipe
from .api import load_run as load_run
from .api import predict as predict
from .api import runs as runs
from .api import search as search
from .api import study as study
from .api import train as train
from .augment.kinds import AugmentationConfig as AugmentationConfig
from .augment.mixing import MixConfig as MixConfig
from .augment.policy import PolicyConfig as PolicyConfig
from .data.label_noise import LabelNoiseConfig as LabelNoiseConfig
from .data.samplers import SamplerConfig as SamplerConfig
from .data.sources import Arrays as Arrays
from .data.sources import ArraySourceConfig as ArraySourceConfig
from .data.sources import SourceConfig as SourceConfig
from .experiments.search.definition import Search as Search
from .experiments.search.samplers import TrialSamplerConfig as TrialSamplerConfig
from .experiments.search.schedulers import TrialSchedulerConfig as TrialSchedulerConfig
from .experiments.study.definition import Study as Study
from .experiments.study.definition import StudyRow as StudyRow
from .losses.kinds import LossConfig as LossConfig
from .metrics.kinds import MetricConfig as MetricConfig
from .models.configs import ModelConfig as ModelConfig
from .models.norm_configs import NormConfig as NormConfig
from .optim.averaging import AveragingConfig as AveragingConfig
from .optim.optimizers import OptimizerConfig as OptimizerConfig
from .optim.schedules import ScheduleConfig as ScheduleConfig
from .recipes.schema import Recipe as Recipe
from .training.callback import Callback as Callback
from .training.callbacks import CallbackConfig as CallbackConfig

__version__: str
__all__: list[str]
