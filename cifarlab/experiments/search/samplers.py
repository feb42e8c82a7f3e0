"""The family of samplers, which draw a search's trials; a kind builds a sampler of Optuna's."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cifarlab.config.family import Family

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


class TrialSamplerConfig(Family):
    """Base of all samplers of a search."""

    in_recipe = False

    @abstractmethod
    def build(self, seed: int) -> "BaseSampler":
        """Return a sampler for one trial; the seed decides its draws."""


class RandomSampler(TrialSamplerConfig):
    """Independent draws."""

    kind: Literal["random"] = "random"

    def build(self, seed: int) -> "BaseSampler":
        """Return Optuna's random sampler."""
        from optuna import samplers

        return samplers.RandomSampler(seed)


class TPESampler(TrialSamplerConfig):
    """Tree-structured Parzen estimator (Bergstra et al. 2011): likelier where scores were good."""

    kind: Literal["tpe"] = "tpe"
    n_startup_trials: int = Field(10, ge=1, description="trials that are drawn at random first")

    def build(self, seed: int) -> "BaseSampler":
        """Return Optuna's TPE sampler."""
        from optuna import samplers

        return samplers.TPESampler(seed=seed, n_startup_trials=self.n_startup_trials)
