"""The command that a person may want next: one line at the end of each."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

Words = tuple[object, ...]


def say_next(*words: object, err: bool = False) -> None:
    """Print a command to go on with; ``err``: where standard output holds what was asked for."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"next: {shlex.join(['cifarlab', *map(str, words)])}\n")


def _options(**values: object) -> Words:
    """Return the words of the options that have a value."""
    named = {f"--{name.replace('_', '-')}": value for name, value in values.items() if value}
    return tuple(word for option in named.items() for word in option)


def after_report(runs: Sequence[Path]) -> Words:
    """Look at one run beside its neighbours, or compare several."""
    return ("dashboard", runs[0].parent) if len(runs) == 1 else ("compare", *runs)


def after_audit(name: str, settings: Sequence[str], run: bool, out: Path | None) -> Words:
    """Return how to see the findings in the run's report, or train the audited recipe."""
    if not run:
        return ("train", name, *settings)
    return ("report", name) if out is None else ("explain", name)


def after_predict(run: Path, paths: Sequence[Path], resize_mode: str | None) -> Words:
    """Return how to see why: of the image, where there was one."""
    from cifarlab.data.image_policy import SUFFIX

    if len(paths) > 1 or not (paths[0].is_file() and SUFFIX.search(paths[0].name)):
        return ("explain", run)
    return ("explain", run, paths[0], *_options(resize_mode=resize_mode))


def after_study(name: str, n_seeds: int | None, scale: float, data: str | None) -> Words:
    """Run in full what was tried at a scale, else look at the runs."""
    full_study = ("study", name, *_options(n_seeds=n_seeds, data=data))
    return ("dashboard",) if scale == 1 else full_study


def after_compare(
    names: Sequence[str], against: str | None, metric: str, out: Path | None
) -> Words:
    """Keep the table and draw the figure, else look at the runs."""
    if out is None:
        other = None if metric == "accuracy" else metric
        return ("compare", *names, *_options(against=against, metric=other, out="comparison"))
    first = Path(names[0])
    return ("dashboard", first.parent) if first.exists() else ("dashboard",)
