"""How much each key decides: PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), by Optuna.

The share of a key among all keys in what tells the better trials from the rest. Its uncertainty is
that of drawing other trials: percentiles over bootstrap samples of them. A key that decides
nothing still gets some by chance: ``chance`` is what it exceeds in 5 % of the cases where the
scores are dealt out anew, in the same unit; it may lie above 1 where all is noise.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cifarlab.experiments.search.space import AnyDimension, Choice, Integer, LogUniform, Params
from cifarlab.system.randomness import derived_seed

FEWEST = 8  # trials, below which nothing is said
_REPEATS = 100
_BETTER = 6
_MOST = 200  # trials that are looked at; of more, so many are drawn


class Importance(NamedTuple):
    """A key's share (0..1), the 95 % interval of it, and what chance alone reaches."""

    key: str
    fraction: float
    low: float
    high: float
    chance: float


def importance(
    space: Mapping[str, AnyDimension], points: Sequence[Params], scores: Sequence[float]
) -> tuple[Importance, ...]:
    """The keys with the largest share first; none for too few trials, or a single key.

    ``points`` and ``scores`` belong together, one of each per trial.
    """
    keys = [key for key in space if sum(key in point for point in points) >= FEWEST // 2]
    if len(points) < FEWEST or len(keys) < 2 or len(set(scores)) < 2:
        return ()
    rng = np.random.default_rng(derived_seed(0, "importance"))
    if len(points) > _MOST:
        kept = rng.permutation(len(points))[:_MOST]
        points, scores = [points[k] for k in kept], [scores[k] for k in kept]
    values = np.asarray(scores, dtype=float)
    everything = np.arange(len(points))
    divergences = _Divergences(space, keys, points)
    resampled = [rng.integers(0, len(points), len(points)) for _ in range(_REPEATS)]
    resampled_importance = np.array([divergences(sample, values[sample]) for sample in resampled])
    shuffled = np.array([divergences(everything, rng.permutation(values)) for _ in range(_REPEATS)])
    observed = np.array(divergences(everything, values))
    fractions = observed / observed.sum()
    low, high = np.percentile(
        resampled_importance / resampled_importance.sum(axis=1, keepdims=True), [2.5, 97.5], axis=0
    )
    chance = np.percentile(shuffled, 95, axis=0) / observed.sum()
    rows = zip(keys, fractions, low, high, chance, strict=True)
    named = [Importance(key, *(float(number) for number in rest)) for key, *rest in rows]
    return tuple(sorted(named, key=lambda row: -row.fraction))


class _Divergences:
    """How far each key's values in the better trials of a sample are from those in all of it."""

    def __init__(
        self, space: Mapping[str, AnyDimension], keys: Sequence[str], points: Sequence[Params]
    ) -> None:
        self._keys, self._points = keys, points
        self._distributions = {key: _distribution(space[key]) for key in keys}

    def __call__(self, sample: np.ndarray, scores: np.ndarray) -> list[float]:
        """One number per key, 0 for one that the sample does not have."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize")
        for index, score in zip(sample, scores, strict=True):
            point = {k: v for k, v in self._points[index].items() if k in self._distributions}
            distributions = {key: self._distributions[key] for key in point}
            study.add_trial(
                optuna.trial.create_trial(
                    params=point, distributions=distributions, value=float(score)
                )
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of few trials: the intervals tell that
            importances = self._evaluator().evaluate(study)
        return [max(float(importances.get(key, 0.0)), 1e-12) for key in self._keys]

    def _evaluator(self) -> Any:
        """The better trials are the best tenth, but six of them at least, or half of all."""
        from optuna.importance import PedAnovaImportanceEvaluator

        better = min(0.5, max(0.1, _BETTER / len(self._points)))
        return PedAnovaImportanceEvaluator(target_quantile=better)


def _distribution(dimension: AnyDimension) -> Any:
    import optuna.distributions as distributions

    if isinstance(dimension, Choice):
        return distributions.CategoricalDistribution(list(dimension.labeled_values))
    if isinstance(dimension, Integer):
        return distributions.IntDistribution(dimension.low, dimension.high)
    return distributions.FloatDistribution(
        dimension.low, dimension.high, log=isinstance(dimension, LogUniform)
    )
