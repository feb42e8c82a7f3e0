"""Findings about settings that are allowed but seldom meant.

Settings that contradict each other are refused by the schema; those here train, but badly. What
concerns one kind of a part only is found by that part (``Family.lint``).
"""

from collections.abc import Collection, Iterator

from cifarlab.config.duration import Duration
from cifarlab.config.family import Family
from cifarlab.config.findings import Finding, RunLength
from cifarlab.data.batch_sizes import batch_sizes
from cifarlab.data.config import Data
from cifarlab.recipes.schema import Recipe


def lint(recipe: Recipe, images: int, splits: Collection[str] = ()) -> list[Finding]:
    """Return the findings about a recipe.

    Args:
        recipe: the recipe
        images: how many images it trains on
        splits: those that its source brings
    """
    per_epoch = len(batch_sizes(images, recipe.training.batch_size))
    training = recipe.training
    durations = (training.duration, *(part.duration for part in training.extensions))
    total, *more = (max(1, duration.in_steps(per_epoch)) for duration in durations)
    length = RunLength(per_epoch, total, total + sum(more))
    return [
        *(finding for part in _parts(recipe).values() for finding in part.lint(length)),
        *_acts_after_the_end(recipe, length),
        *_dropout_before_norm(recipe),
        *_fractions_of_own_splits(recipe.data, splits),
    ]


def _fractions_of_own_splits(data: Data, splits: Collection[str]) -> Iterator[Finding]:
    for split, key in (("test", "test_fraction"), ("val", "val_fraction")):
        fraction = getattr(data, key)
        if split in splits and fraction not in (0, Data.model_fields[key].default):
            yield Finding(
                f"data.{key}={fraction:g}, and the source brings a {split} split of its own",
                "that split is taken whole: the run is the same without this key",
                f"leave data.{key} out",
            )


def _parts(recipe: Recipe) -> dict[str, Family]:
    """Return the parts that exist in several kinds, by their keys."""
    return {key: part for key, part in recipe if isinstance(part, Family)}


def _acts_after_the_end(recipe: Recipe, length: RunLength) -> Iterator[Finding]:
    for key, step in _first_acts(recipe, length).items():
        if step >= (total := length.total_steps):
            yield Finding(
                f"{key} first acts at step {step:,}, counted from 0; the run has {total:,}",
                "it changes nothing: the run is the same without it",
                f"let it act sooner, lengthen training.duration, or leave {key} out",
            )


def _first_acts(recipe: Recipe, length: RunLength) -> dict[str, int]:
    """Return, by setting, the first step (from 0) that it changes, if it has a start."""
    training, per_epoch = recipe.training, length.steps_per_epoch

    def to_step(duration: Duration) -> int:
        return duration.in_steps(per_epoch, length.planned_steps)

    first = {
        f"augment.progressive_resize.{i}": to_step(size.start)
        for i, size in enumerate(recipe.augment.progressive_resize)
    }
    first |= {f"training.freeze.{i}": to_step(part.start) for i, part in enumerate(training.freeze)}
    if training.selective_backprop.keep < 1:
        first["training.selective_backprop"] = to_step(training.selective_backprop.start)
    if training.early_stopping is not None:
        first["training.early_stopping"] = (training.early_stopping.patience + 1) * per_epoch
    for key, part in _parts(recipe).items():
        first |= {f"{key}.{name}": step for name, step in part.first_acts(length).items()}
    return first


def _dropout_before_norm(recipe: Recipe) -> Iterator[Finding]:
    if (dropout := recipe.model.dropout_before_norm()) is not None:
        yield Finding(
            f"batch normalisation comes behind dropout ({dropout:g})",
            "dropout gives activations another variance in training than at test time, so that the "
            "running statistics behind it are wrong (Li et al. 2019, arXiv:1801.05134); kth2024's "
            "exchanged order reached 59.49 %",
            "keep dropout for the layers behind the last normalisation, or take norm.kind=group",
        )
