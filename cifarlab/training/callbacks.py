"""The kinds of callbacks. A callback sees a run and decides nothing, so no recipe has a key for it.

It is given in Python, by ``--callback KIND``, or in the ``callbacks`` of a study or search, and the
provenance names its class. A kind is a ``CallbackConfig`` whose ``build`` returns the callback for
one run.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.family import Family, allow_plugins
from cifarlab.config.plugins import ExtensibleConfig, Plugin
from cifarlab.recipes.hints import suggest
from cifarlab.recipes.text import parse_assignments, validate_config
from cifarlab.system.errors import UserError
from cifarlab.system.extras import require_installed
from cifarlab.training.callback import Callback


class CallbackConfig(Family):
    """Base of the callbacks that can be named outside of Python."""

    in_recipe = False

    @abstractmethod
    def build(self) -> Callback:
        """Return a new callback, for one run."""

    def require_packages(self) -> None:
        """Raise MissingExtraError where a package is missing that the callback needs."""


class TensorStatsConfig(CallbackConfig):
    """Keep histograms of weights, activations and gradients of each epoch."""

    kind: Literal["tensor-stats"] = "tensor-stats"

    def build(self) -> Callback:
        """Return the callback that writes ``tensor_stats.jsonl``."""
        from cifarlab.training.tensor_stats import TensorStats

        return TensorStats()


class LoggerConfig(CallbackConfig):
    """Base of the loggers, whose kind is also their package's and their extra's name."""

    def require_packages(self) -> None:
        """Raise MissingExtraError where the tool is not installed."""
        require_installed(f"the callback {self.kind}", self.kind, self.kind)


class TensorBoardConfig(LoggerConfig):
    """Log to TensorBoard: an event file in the run folder (docs/loggers.md)."""

    kind: Literal["tensorboard"] = "tensorboard"

    def build(self) -> Callback:
        """Return the logger."""
        from cifarlab.training.loggers.tensorboard import TensorBoardLogger

        return TensorBoardLogger()


class MLflowConfig(LoggerConfig):
    """Log to MLflow: a server or a database (docs/loggers.md)."""

    kind: Literal["mlflow"] = "mlflow"
    tracking_uri: str = Field("", description="empty: $MLFLOW_TRACKING_URI, else ./mlflow.db")
    experiment: str = Field(
        "",
        description="empty: $MLFLOW_EXPERIMENT_NAME, else the study's or search's, else cifarlab",
    )

    def build(self) -> Callback:
        """Return the logger."""
        from cifarlab.training.loggers.mlflow import MLflowLogger

        return MLflowLogger(self.tracking_uri, self.experiment)


class WandbConfig(LoggerConfig):
    """Log to Weights & Biases, offline unless $WANDB_MODE says otherwise (docs/loggers.md)."""

    kind: Literal["wandb"] = "wandb"
    project: str = Field("", description="empty: $WANDB_PROJECT, else cifarlab")

    def build(self) -> Callback:
        """Return the logger."""
        from cifarlab.training.loggers.wandb import WandbLogger

        return WandbLogger(self.project)


class TrackioConfig(LoggerConfig):
    """Log to trackio's database on this machine (docs/loggers.md)."""

    kind: Literal["trackio"] = "trackio"
    project: str = Field("cifarlab", description="where trackio shows the run")

    def build(self) -> Callback:
        """Return the logger."""
        from cifarlab.training.loggers.trackio import TrackioLogger

        return TrackioLogger(self.project)


class CallbacksConfig(ExtensibleConfig):
    """Base of the configs that name callbacks for their runs: of a study, a search, a command."""

    callbacks: tuple[SerializeAsAny[CallbackConfig], ...] = Field(
        (), description="what sees each run and decides nothing (docs/extend.md)"
    )

    def require_packages(self) -> None:
        """Raise MissingExtraError where a package is missing that a callback needs."""
        for config in self.callbacks:
            config.require_packages()

    def build_callbacks(self) -> list[Callback]:
        """Return new callbacks, for one run."""
        return [config.build() for config in self.callbacks]

    def only_callbacks(self) -> "CallbacksConfig":
        """Return the callbacks without what else a study or search says, for its workers.

        Raises:
            MissingExtraError: a package is missing that one of them needs
        """
        self.require_packages()
        return CallbacksConfig(callbacks=self.callbacks).add_plugins(self.plugins)


def name_callbacks(kinds: Sequence[str], plugins: Sequence[Plugin]) -> CallbacksConfig:
    """Return the callbacks of these kinds.

    Args:
        kinds: names of callbacks, each by itself or with settings: ``KIND:key=value,key=value``;
            one that is given twice counts once
        plugins: loaded files, whose kinds may be named too

    Raises:
        UserError: there is no callback of such a name
        RecipeError: a setting that is refused
        MissingExtraError: a package is missing that one of them needs
    """
    with allow_plugins(plugin.sha256 for plugin in plugins):
        by_kind = CallbackConfig.kinds()
    callbacks = []
    for text in dict.fromkeys(kinds):
        kind, _, settings = text.partition(":")
        if kind not in by_kind:
            raise UserError(f"no callback is called {kind!r}", suggest(kind, list(by_kind)))
        names = ", ".join(name for name in by_kind[kind].model_fields if name != "kind")
        hint = f"its settings: {names}" if names else "it has no settings"
        tree = parse_assignments(settings.split(",") if settings else [], hint=hint)
        callbacks.append(validate_config(by_kind[kind], tree, f"callback {kind}", hint))
    config = CallbacksConfig(callbacks=tuple(callbacks)).add_plugins(plugins)
    config.require_packages()
    return config
