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
        """Return the callback that writes ``tensor_stats.jsonl``."""
        from cifarlab.training.tensor_stats import TensorStats

        return TensorStats()


class CallbacksConfig(ExtensibleConfig):
    """Base of the configs that name callbacks for their runs: of a study, a search, a command."""

    callbacks: tuple[SerializeAsAny[CallbackConfig], ...] = Field(
        (), description="what sees each run and decides nothing (docs/extend.md)"
    )

    def build_callbacks(self) -> list[Callback]:
        """Return new callbacks, for one run."""
        return [config.build() for config in self.callbacks]

    def only_callbacks(self) -> "CallbacksConfig":
        """Return the callbacks without what else a study or search says, for its workers."""
        return CallbacksConfig(callbacks=self.callbacks).add_plugins(self.plugins)


def name_callbacks(kinds: Sequence[str], plugins: Sequence[Plugin]) -> CallbacksConfig:
    """Return the callbacks of these kinds.

    Args:
        kinds: names of callbacks; a name that is given twice counts once
        plugins: loaded files, whose kinds may be named too

    Raises:
        UserError: there is no callback of such a name
    """
    with allow_plugins(plugin.sha256 for plugin in plugins):
        by_kind = CallbackConfig.kinds()
    for kind in kinds:
        if kind not in by_kind:
            raise UserError(f"no callback is called {kind!r}", suggest(kind, list(by_kind)))
    callbacks = tuple(by_kind[kind].model_validate({}) for kind in dict.fromkeys(kinds))
    return CallbacksConfig(callbacks=callbacks).add_plugins(plugins)
