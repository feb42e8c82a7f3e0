"""Full evaluation of a trained run on one split, written into its folder."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cifarlab.data.dataset import Log, Progress
from cifarlab.evaluation.ood import measure_ood
from cifarlab.evaluation.run_evaluation import open_split
from cifarlab.evaluation.shift import measure_shift
from cifarlab.evaluation.tta_comparison import compare_tta
from cifarlab.run_folder.folder import RunFolder

OOD_SOURCE = "digits"  # there without a download, and like no photograph


def evaluate_fully(
    folder: RunFolder,
    split: str = "val",
    groups: Path | None = None,
    ood: str | None = None,
    images: int | None = None,
    *,
    command: str = "cifarlab.evaluation.full_evaluation.evaluate_fully",
    progress: Progress | None = None,
    log: Log | None = None,
) -> dict[str, Any]:
    """Evaluate a run in every way, keep it in ``evaluation/<split>.json`` and return it.

    ``data``, ``split``, ``command``, ``time``; ``measured`` (see ``measure``), ``tta`` (see
    ``compare_tta``), ``shift`` (see ``measure_shift``; on ``images`` of them), ``ood`` (see
    ``measure_ood``; null for a run on the digits where no source is named) and ``cost``.
    The test split is opened once for all of it, and the opening recorded; what is to be chosen
    is chosen on validation. Raises as ``evaluate_run`` does.
    """
    begun = time.perf_counter()
    run = open_split(folder, split, "evaluate", command, progress, groups, log)
    if ood is None and str(run.recipe.data.source) != OOD_SOURCE:
        ood = OOD_SOURCE
    # first, since a source may not be there
    ood_result = measure_ood(run.predictor, run.subset, ood, progress) if ood else None
    evaluation = {
        "data": run.dataset.name,
        "split": split,
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured": run.measure(),
        "tta": compare_tta(run.predictor, run.subset),
        "shift": measure_shift(run.predictor, run.subset, images, progress),
        "ood": ood_result,
        "cost": {"seconds": time.perf_counter() - begun},
    }
    folder.write_evaluation(split, evaluation)
    return evaluation
