"""Where others may watch a run. A callback sees; it changes neither the batch nor the state.

It decides nothing of what a step does (it may ask the run to end: ``StopRequest``), so it is no
setting of the recipe: it is given in Python, by ``--callback KIND``, or in the ``callbacks`` of a
study or search, and its class is named in the provenance. A kind is a ``CallbackConfig`` whose
``build`` returns the callback for one run.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal

from pydantic import Field, SerializeAsAny

from cifarlab.config.family import Family, allow_plugins
from cifarlab.config.plugins import ExtensibleConfig, Plugin
from cifarlab.recipes.hints import nearest
from cifarlab.system.errors import UserError
from cifarlab.training.callback import Callback


class CallbackConfig(Family):
    """Base of the callbacks that can be named outside of Python."""

    in_recipe = False

    @abstractmethod
    def build(self) -> Callback:
        """Return a new callback, for one run."""


class TensorStatsConfig(CallbackConfig):
    """Keep histograms of weights, activations and gradients of each epoch."""

    kind: Literal["tensor-stats"] = "tensor-stats"

    def build(self) -> Callback:
        """Return what writes ``tensor_stats.jsonl``."""
        from cifarlab.training.tensor_stats import TensorStats

        return TensorStats()


class WatchedConfig(ExtensibleConfig):
    """Base of what names callbacks for its runs: a study, a search, a command line."""

    callbacks: tuple[SerializeAsAny[CallbackConfig], ...] = Field(
        (), description="what watches each run and decides nothing (docs/extend.md)"
    )

    def build_callbacks(self) -> list[Callback]:
        """Return new callbacks, for one run."""
        return [config.build() for config in self.callbacks]


def name_callbacks(kinds: Sequence[str], plugins: Sequence[Plugin]) -> WatchedConfig:
    """Return the callbacks of these kinds, some from ``plugins``. Raises UserError."""
    with allow_plugins(plugin.sha256 for plugin in plugins):
        known = CallbackConfig.kinds()
    for kind in kinds:
        if kind not in known:
            raise UserError(f"no callback is called {kind!r}", nearest(kind, list(known)))
    callbacks = tuple(known[kind].model_validate({}) for kind in dict.fromkeys(kinds))
    return WatchedConfig(callbacks=callbacks).add_plugins(plugins)
