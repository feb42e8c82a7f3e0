"""One run at a glance: state, settings, results, what its parts take, and what stands on it."""

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from cifarlab.experiments.usages import find_usages
from cifarlab.report.settings import departures
from cifarlab.run_folder.contents import list_files, sizes_by_part
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import RunIndex
from cifarlab.run_folder.selection import COLUMNS
from cifarlab.run_folder.values import flatten
from cifarlab.system.errors import RunFolderError
from cifarlab.system.formatting import percent, to_line

# of the result; all of it is in the JSON
_MAIN_RESULTS = re.compile(
    r"stop_reason|best\.|cost\.|(val|test)\.(n|accuracy|interval|loss|calibrated\.ece)$"
)
_FACTS = (
    *("state", "recipe", "seed", "data", "epochs", "test", "val", "seconds", "parameters"),
    *("openings", "last_modified"),
)


def summarize_run(run: Path) -> dict[str, Any]:
    """Return what there is to know of a run folder, as plain values.

    Raises:
        RunFolderError: it is no run, or damaged
        RecipeError: its recipe is damaged
        PluginError: a plug-in of it is missing, not approved or fails
    """
    run_folder = RunFolder(run).require()
    path = run.resolve()
    recipe, result = run_folder.recipe(), run_folder.result()
    entry = next(iter(RunIndex(path).listing().runs))
    if entry.problem:
        raise RunFolderError(f"{run}: {entry.problem}", "restore that file")
    return {
        "run": str(run),
        "facts": {key: COLUMNS[key](entry, time.time()) for key in _FACTS},
        "settings": {key: value for key, (value, _) in departures(recipe)},
        "result": flatten(result or {}),
        "bytes": sizes_by_part(list_files(path)),
        "stands_on_it": [str(usage) for usage in find_usages([path])[path]],
    }


def summary_table(summary: dict[str, Any]) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """Return headers and cells of what ``summarize_run`` returned."""
    facts = {key: value for key, value in summary["facts"].items() if value is not None}
    facts["last_modified"] = f"{datetime.fromtimestamp(facts['last_modified']):%Y-%m-%d %H:%M:%S}"
    facts |= {key: percent(facts[key]) for key in ("test", "val") if key in facts}
    rows = {
        **facts,
        **{f"recipe: {key}": value for key, value in summary["settings"].items()},
        **{f"result: {k}": v for k, v in summary["result"].items() if _MAIN_RESULTS.match(k)},
        **{f"bytes: {part}": f"{size:,}" for part, size in summary["bytes"].items()},
        "stands on it": "; ".join(summary["stands_on_it"]),
    }
    return (summary["run"], ""), [(key, to_line(value)) for key, value in rows.items()]
