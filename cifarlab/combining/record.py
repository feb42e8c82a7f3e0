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
    facts: dict[str, Any] = {
        "method": combination.method if combination else "distilled",
        **members.facts(),
        "gain": compare_with_members(folder, members, command),
        "cost": measure_speed(Predictor.load(folder.measured_weights()), members),
    }
    lines = describe(facts)
    folder.write_result({**result, "combination": facts, "notes": [*result["notes"], *lines]})
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
    members = load_members([RunFolder(Path(member["run"])) for member in facts], progress)
    if members.facts()["members"] != facts:
        what = f"the members of {folder.path} were trained again since it was made"
        raise RunFolderError(what, "restore them, to learn what it gains: the run is complete")
    record_gain(folder, members, command)
