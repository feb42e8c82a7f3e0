"""How much each key decides: PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255), by Optuna.

The importance of a key is its fraction of what distinguishes the better trials. Its interval has
the percentiles over bootstrap samples of the trials. A key that decides nothing still gets some by
chance: ``chance`` is the level, in the same unit, that it exceeds in 5 % of the cases when the
scores are permuted; it may lie above 1 where all is noise.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cifarlab.experiments.search.space import AnyDimension, Params
from cifarlab.system.randomness import derived_seed

MIN_TRIALS = 8  # below which there is no result
_REPEATS = 100
_MIN_BETTER = 6
_MAX_TRIALS = 200  # of more, so many are sampled


class Importance(NamedTuple):
    """A key's importance (0..1), its 95 % interval, and the level that chance alone reaches."""

    key: str
    fraction: float
    low: float
    high: float
    chance: float


def measure_importance(
    space: Mapping[str, AnyDimension], points: Sequence[Params], scores: Sequence[float]
) -> tuple[Importance, ...]:
    """Return the keys' importance, the largest first; empty for too few trials or a single key.

    Args:
        space: the space
        points: parameters of each trial
        scores: score of each trial; higher is better
    """
    keys = [key for key in space if sum(key in point for point in points) >= MIN_TRIALS // 2]
    if len(points) < MIN_TRIALS or len(keys) < 2 or len(set(scores)) < 2:
        return ()
    rng = np.random.default_rng(derived_seed(0, "importance"))
    if len(points) > _MAX_TRIALS:
        sample = rng.permutation(len(points))[:_MAX_TRIALS]
        points, scores = [points[k] for k in sample], [scores[k] for k in sample]
    values = np.asarray(scores, dtype=float)
    all_trials = np.arange(len(points))
    divergences = partial(_divergences, keys, [_fixed_trial(space, keys, p) for p in points])
    resampled = [rng.integers(0, len(points), len(points)) for _ in range(_REPEATS)]
    resampled_importance = np.array([divergences(sample, values[sample]) for sample in resampled])
    shuffled = np.array([divergences(all_trials, rng.permutation(values)) for _ in range(_REPEATS)])
    observed = np.array(divergences(all_trials, values))
    fractions = observed / observed.sum()
    low, high = np.percentile(
        resampled_importance / resampled_importance.sum(axis=1, keepdims=True), [2.5, 97.5], axis=0
    )
    chance = np.percentile(shuffled, 95, axis=0) / observed.sum()
    rows = zip(keys, fractions, low, high, chance, strict=True)
    importances = [Importance(key, *(float(number) for number in rest)) for key, *rest in rows]
    return tuple(sorted(importances, key=lambda row: -row.fraction))


def _fixed_trial(
    space: Mapping[str, AnyDimension], keys: Sequence[str], point: Params
) -> dict[str, Any]:
    """Return a point and Optuna's distributions of its keys, as ``create_trial`` takes them."""
    from optuna.trial import FixedTrial

    params = {key: point[key] for key in keys if key in point}
    trial = FixedTrial(params)
    for key in params:
        space[key].suggest(key, trial)
    return {"params": params, "distributions": trial.distributions}


def _divergences(
    keys: Sequence[str], points: Sequence[dict[str, Any]], sample: np.ndarray, scores: np.ndarray
) -> list[float]:
    """Return how much each key's values in a sample's better trials differ from those in all.

    0 for a key that the sample does not have. The better trials are the best tenth, but at least
    six of them, or half of all.
    """
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for index, score in zip(sample, scores, strict=True):
        study.add_trial(optuna.trial.create_trial(**points[index], value=float(score)))
    better = min(0.5, max(0.1, _MIN_BETTER / len(points)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few trials, which the intervals show
        importances = PedAnovaImportanceEvaluator(target_quantile=better).evaluate(study)
    return [max(float(importances.get(key, 0.0)), 1e-12) for key in keys]
