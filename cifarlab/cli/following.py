"""The command that a person may want next: one line at the end of each."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def say_next(*words: object, err: bool = False) -> None:
    """Print a command to go on with; ``err``: where standard output holds what was asked for."""
    stream = sys.stderr if err else sys.stdout
    stream.write(f"next: {shlex.join(['cifarlab', *map(str, words)])}\n")


def after_report(runs: Sequence[Path]) -> tuple[object, ...]:
    """Look at one run beside its neighbours, or compare several."""
    return ("dashboard", runs[0].parent) if len(runs) == 1 else ("compare", *runs)


def after_audit(
    name: str, settings: Sequence[str], run: bool, out: Path | None
) -> tuple[object, ...]:
    """Return how to see the findings in the run's report, or train the audited recipe."""
    if not run:
        return ("train", name, *settings)
    return ("report", name) if out is None else ("explain", name)


def after_predict(run: Path, paths: Sequence[Path], resize_mode: str | None) -> tuple[object, ...]:
    """Return how to see why: of the image, where there was one."""
    if len(paths) > 1 or not _is_image(paths[0]):
        return "explain", run
    return (
        "explain",
        run,
        paths[0],
        *([] if resize_mode is None else ["--resize-mode", resize_mode]),
    )


def _is_image(path: Path) -> bool:
    from cifarlab.data.folders import IMAGE

    return path.is_file() and bool(IMAGE.search(path.name))


def after_study(
    name: str, n_seeds: int | None, scale: float, data: str | None
) -> tuple[object, ...]:
    """Run in full what was tried at a scale, else look at the runs."""
    if scale == 1:
        return ("dashboard",)
    options = {"--n-seeds": n_seeds, "--data": data}
    changed = [word for option, value in options.items() if value for word in (option, value)]
    return ("study", name, *changed)


def after_compare(
    names: Sequence[str], against: str | None, metric: str, out: Path | None
) -> tuple[object, ...]:
    """Keep the table and draw the figure, else look at the runs."""
    if out is None:
        return (
            "compare",
            *names,
            *(["--against", against] if against else []),
            *(["--metric", metric] if metric != "accuracy" else []),
            "--out",
            "comparison",
        )
    first = Path(names[0])
    return ("dashboard", first.parent) if first.exists() else ("dashboard",)
