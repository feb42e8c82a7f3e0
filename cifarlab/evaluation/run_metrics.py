"""What runs are compared by besides metrics of their logits: training time and corruptions."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from cifarlab.metrics.kinds import MetricFacts
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData, dig
from cifarlab.system.errors import UserError
from cifarlab.system.formatting import number

# what decides how fast a run is, beside its recipe: in words, and the keys in its provenance
_CONDITIONS = {
    "device": ("device", "name"),
    "threads": ("device", "threads"),
    "compilation": ("device", "compiled"),
    "packed convolutions": ("device", "packed_convolutions"),
    "precision": ("precision",),
    "number of processes": ("processes",),
    "version of torch": ("libraries", "torch"),
    "version of cifarlab": ("cifarlab",),
}


class RunMetric(NamedTuple):
    """A metric of a whole run: it has no value for a single image.

    ``measure`` returns a run's value on a split, None where it has none. ``require`` raises
    UserError where the runs' values can't be compared.
    """

    facts: MetricFacts
    measure: Callable[[RunData, str], float | None]
    require: Callable[[Sequence[RunData]], None]

    def check(self, classes: int) -> None:
        """Accept any number of classes."""


def train_seconds(run: RunData, _split: str = "") -> float | None:
    """Return how many seconds a run trained, evaluation not counted."""
    return number(dig(run.result, "cost", "train_seconds"))


def timing_problems(runs: Sequence[RunData]) -> list[str]:
    """Return why the runs' seconds can't be compared; empty where they can."""
    problems = []
    for name, keys in _CONDITIONS.items():
        values = dict.fromkeys(str(dig(run.provenance, *keys)) for run in runs)
        if len(values) > 1:
            problems.append(f"the {name} differs ({', '.join(values)})")
    resumed = [run.name for run in runs if len(run.provenance.get("starts", [])) > 1]
    if resumed:
        problems.append(f"{', '.join(resumed)} paused and went on later")
    unknown = [run.name for run in runs if dig(run.provenance, "device", "name") is None]
    if unknown:
        problems.append(f"{', '.join(unknown)} does not say its device")
    return problems


def _require_equal_timing(runs: Sequence[RunData]) -> None:
    if problems := timing_problems(runs):
        raise UserError(
            f"the runs' seconds can't be compared: {'; '.join(problems)}",
            "train them without a pause, on one machine, with the same threads and precision",
        )


def _shift(run: RunData, split: str) -> Any:
    return dig(RunFolder(run.path).evaluation(split), "shift")


def _corruption(run: RunData, split: str) -> float | None:
    return number(dig(_shift(run, split), "mean"))


def _require_equal_corruptions(runs: Sequence[RunData]) -> None:
    by_split = {split: [_shift(run, split) for run in runs] for split in SPLIT_NAMES}
    split = max(by_split, key=lambda name: sum(map(bool, by_split[name])))
    words = f"corrupted {SPLIT_NAMES[split]} images"
    for run, shift in zip(runs, by_split[split], strict=True):
        if not shift:
            option = " --split test" if split == "test" else ""
            raise UserError(
                f"{run.name} was not measured on {words}",
                f"measure it with: cifarlab evaluate {run.path} --full{option}",
            )
    if len({dig(shift, "n") for shift in by_split[split]}) > 1:
        raise UserError(
            f"the runs were measured on different numbers of {words}",
            "measure each with 'cifarlab evaluate RUN --full' and the same --images",
        )


RUN_METRICS = {
    "seconds": RunMetric(
        MetricFacts("seconds", False, False, "training seconds", of_split=False),
        train_seconds,
        _require_equal_timing,
    ),
    "corruption": RunMetric(
        MetricFacts("corruption", True, True, "accuracy under corruptions"),
        _corruption,
        _require_equal_corruptions,
    ),
}
