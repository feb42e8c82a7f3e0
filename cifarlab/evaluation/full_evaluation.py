"""Everything that can be found out of a trained run on one split, written into its folder."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cifarlab.data.dataset import Progress, Log
from cifarlab.evaluation.ood import against_outliers
from cifarlab.evaluation.run_evaluation import measured, open_split, require_views
from cifarlab.evaluation.shift import under_shift
from cifarlab.evaluation.tta_comparison import views_compared
from cifarlab.runs.folder import RunFolder

STRANGERS = "digits"  # there without a download, and like no photograph


def examine(
    folder: RunFolder,
    split: str = "val",
    groups: Path | None = None,
    outliers: str | None = None,
    images: int | None = None,
    *,
    command: str = "cifarlab.evaluation.full_evaluation.examine",
    progress: Progress | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Measure, compare views, corrupt, show strangers; keep it in ``evaluation/<split>.json``.

    ``data``, ``split``, ``command``, ``time``; ``measured`` (see ``measure``), ``views`` (see
    ``views_compared``), ``shift`` (see ``under_shift``; on ``images`` of them), ``outliers`` (see
    ``against_outliers``; null for a run on the digits where no source is named) and ``cost``.
    The test split is opened once for all of it, and the opening recorded; what is to be chosen
    is chosen on validation. Raises as ``evaluate_run`` does.
    """
    require_views(folder, split, None)
    begun = time.perf_counter()
    run = open_split(folder, split, "evaluate", command, progress, groups, log)
    if outliers is None and run.recipe.data.source != STRANGERS:
        outliers = STRANGERS
    report = progress or _silent
    # first, since a source may not be there
    told = against_outliers(run.predictor, run.subset, outliers, progress) if outliers else None
    found = {
        "data": run.dataset.name,
        "split": split,
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured": measured(folder, run, None),
        "views": views_compared(run.predictor, run.subset),
        "shift": under_shift(run.predictor, run.subset, images, report),
        "outliers": told,
        "cost": {"seconds": time.perf_counter() - begun},
    }
    folder.write_evaluation(split, found)
    return found


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass
