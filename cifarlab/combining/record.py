"""What a combination's result and provenance say of its members, and what it gains over them."""

from pathlib import Path
from typing import Any

from cifarlab.combining.gain import compare_with_members, describe, measure_speed
from cifarlab.combining.members import MemberRuns, load_members
from cifarlab.data.dataset import Progress
from cifarlab.inference.predictor import Predictor
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError


def record_members(folder: RunFolder, members: MemberRuns) -> None:
    """Write into the provenance what the run is made of."""
    folder.write_provenance({**folder.provenance(), **members.facts()})


def record_gain(folder: RunFolder, members: MemberRuns, command: str) -> list[str]:
    """Add ``combination`` to the result of a combination that has ended; return it in sentences.

    Args:
        folder: of the combination
        members: its members
        command: recorded where a member's test images are run

    Raises:
        CifarlabError: as ``compare_with_members``
    """
    combination, result = folder.recipe().combination, folder.result() or {}
    own_cost = result.get("cost") or {}
    seconds = [own_cost.get("train_seconds"), *(run.train_seconds for run in members.runs)]
    total = None if None in seconds else sum(filter(None, seconds))
    cost = measure_speed(Predictor.load(folder.measured_weights()), members)
    facts: dict[str, Any] = {
        "method": combination.method if combination else "distilled",
        **members.facts(),
        "gain": compare_with_members(folder, members, command),
        "cost": cost | {"train_seconds": total},
    }
    lines = describe(facts)
    result |= {"combination": facts, "notes": [*result["notes"], *lines]}
    if combination:  # nothing was trained for it: its time is that of its members
        result |= {"epochs": None, "cost": own_cost | {"train_seconds": total}}
    folder.write_result(result)
    return lines


def complete_record(folder: RunFolder, command: str, progress: Progress | None = None) -> None:
    """Record the gain of a combination that was interrupted, and has ended now; of others nothing.

    Args:
        folder: of a run
        command: recorded where a member's test images are run
        progress: called while data are read

    Raises:
        RunFolderError: the members are not those that the provenance names
        CifarlabError: as ``load_members`` and ``record_gain``
    """
    result, facts = folder.result(), folder.provenance().get("members")
    if facts is None or result is None or "combination" in result:
        return
    choices = folder.provenance().get("choices", [])
    paths = [Path(member["run"]) for member in facts]
    members = load_members([RunFolder(path) for path in paths], progress, choices=choices)
    if members.facts()["members"] != facts:
        what = f"the members of {folder.path} were trained again since it was made"
        raise RunFolderError(what, "restore them, to learn what it gains: the run is complete")
    with folder.lock():
        if "combination" not in (folder.result() or {}):  # nor has another process come first
            record_gain(folder, members, command)
