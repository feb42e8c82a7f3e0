"""The command that a person may want next: one line at the end of each."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

Words = tuple[object, ...]
_MOST_NAMES = 4  # of runs in a command that is printed


def print_next(*words: object, err: bool = False) -> None:
    """Print a command to go on with; with ``err`` on standard error, as where predictions print."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"next: {shlex.join(['cifarlab', *map(str, words)])}\n")


def _options(**values: object) -> Words:
    """Return the words of the options that have a value."""
    options = {
        f"--{name.replace('_', '-')}": value for name, value in values.items() if value is not None
    }
    return tuple(word for option in options.items() for word in option)


def after_report(runs: Sequence[Path]) -> Words:
    """Return how to see one run beside others of its folder, or compare several."""
    return ("dashboard", runs[0].parent) if len(runs) == 1 else ("compare", *runs)


def after_audit(name: str, settings: Sequence[str], is_run: bool, out: Path | None) -> Words:
    """Return how to see the findings in the run's report, or train the audited recipe.

    Args:
        name: the run's folder, or the recipe
        settings: changes to the recipe, as KEY=VALUE
        is_run: whether ``name`` is a run
        out: the folder that the audit was written to, None for the default
    """
    if not is_run:
        return ("train", name, *settings)
    return ("report", name) if out is None else ("explain", name)


def after_predict(run: Path, paths: Sequence[Path], resize_mode: str | None) -> Words:
    """Return how to explain the predictions: that of the image, where there was one alone.

    Args:
        run: the run's folder
        paths: what was predicted: images, folders, archives
        resize_mode: how images of another size were resized, None for the recipe's way
    """
    from cifarlab.data.image_policy import SUFFIX

    if len(paths) > 1 or not (paths[0].is_file() and SUFFIX.search(paths[0].name)):
        return ("explain", run)
    return ("explain", run, paths[0], *_options(resize_mode=resize_mode))


def after_study(name: str, scale: float, data: str | None, **plan: object) -> Words:
    """Return how to run a study in full after a try at a smaller scale, else see its runs.

    Args:
        name: the study
        scale: fraction of the images and epochs that was run
        data: the source of the images, None for the recipes' own
        **plan: the options of its plan, None for the study's own
    """
    full_study = ("study", name, *_options(**plan, data=data))
    return ("dashboard",) if scale == 1 else full_study


def after_compare(
    names: Sequence[str], against: str | None, metric: str, out: Path | None, **options: object
) -> Words:
    """Return how to keep the table and draw the figure; of many names or after that, see the runs.

    Args:
        names: the runs, folders and recipes that were compared
        against: the baseline, None for the first
        metric: the metric's name
        out: the folder that the comparison was written to, None where it was not
        **options: further ones, that stay
    """
    if out is None and len(names) <= _MOST_NAMES:
        other = None if metric == "accuracy" else metric
        options |= {"against": against, "metric": other, "out": "comparison"}
        return ("compare", *names, *_options(**options))
    first = Path(names[0])
    return ("dashboard", first.parent) if first.exists() else ("dashboard",)
