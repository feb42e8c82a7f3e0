# the public names: __init__.py imports each when it is first used
from .api.combining import combine as combine
from .api.experiments import ComparisonTable as ComparisonTable
from .api.experiments import SearchTable as SearchTable
from .api.experiments import compare as compare
from .api.experiments import search as search
from .api.experiments import study as study
from .api.judging import JudgementView as JudgementView
from .api.judging import RecordTable as RecordTable
from .api.judging import judge as judge
from .api.judging import records as records
from .api.removal import RemovalTable as RemovalTable
from .api.removal import remove_runs as remove_runs
from .api.runs import Evaluation as Evaluation
from .api.runs import RunTable as RunTable
from .api.runs import TrainedRun as TrainedRun
from .api.runs import evaluate as evaluate
from .api.runs import find_recipe as find_recipe
from .api.runs import load_run as load_run
from .api.runs import predict as predict
from .api.runs import runs as runs
from .api.runs import train as train
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
