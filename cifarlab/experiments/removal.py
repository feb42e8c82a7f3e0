"""Delete runs, or parts of them, and say before what that costs.

Two things outlive each deletion: the count of a run's openings of the test split
(run_folder/removals.py), and the evidence of a record, which is never deleted.
"""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.experiments.usages import EVIDENCE_PARTS, Usage, find_usages
from cifarlab.run_folder.contents import (
    RESULTS,
    RunFile,
    delete_files,
    list_files,
    sizes_by_part,
)
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import Entry, RunIndex
from cifarlab.run_folder.removals import record_removal
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.formatting import memory

_LOSSES = {
    "weights": "predict, evaluate, explain",
    "predictions": "compare --by image",
    "tensor-stats": "histograms",
    "audit": "an audit's findings",
}


class Deletion(NamedTuple):
    """What is deleted of one run, and what is lost with it.

    ``resume`` says what can't be gone on with, ``uses`` what can't be done any more with the run,
    ``verdicts`` which studies and searches can't be computed again, ``evidence`` for which record
    the rest is kept.
    """

    run: Entry
    path: Path
    files: list[RunFile]
    is_whole: bool
    resume: str
    uses: list[str]
    verdicts: list[str]
    evidence: str

    @property
    def n_bytes(self) -> int:
        """Return how many bytes the disk has more afterwards."""
        return sum(file.n_bytes for file in self.files)

    @property
    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of each part that is deleted."""
        return sizes_by_part(self.files)


def plan_removal(
    index: RunIndex, runs: Iterable[Entry], keep: Collection[str] | None = None
) -> list[Deletion]:
    """Return what to delete of each run that has anything to delete.

    Args:
        index: the folder of the runs
        runs: some of its runs
        keep: parts that are kept (run_folder/contents.py); None: none, the runs are deleted
    """
    usages = find_usages(index)
    plans = (_plan(index.root / run.url_path, run, keep, usages) for run in runs)
    return [plan for plan in plans if plan.files]


def _plan(
    path: Path, run: Entry, keep: Collection[str] | None, usages: dict[Path, list[Usage]]
) -> Deletion:
    of_run = usages.get(path.resolve(), [])
    record = next((usage.name for usage in of_run if usage.kind == "record"), "")
    kept_parts = {*(keep or ()), *((RESULTS, *EVIDENCE_PARTS) if record else ())}
    files = [file for file in list_files(path) if file.part not in kept_parts]
    parts = {file.part for file in files}
    is_whole = keep is None and not record
    goes_on = "checkpoints" in parts or "weights" in parts
    epochs = f"{run.epochs or 0} epochs"
    uses = [loss for part, loss in _LOSSES.items() if part in parts]
    experiments = [usage for usage in of_run if usage.kind != "record"]
    if "predictions" in parts and not is_whole:
        uses += [f"{usage} image by image" for usage in experiments if usage.kind == "study"]
    return Deletion(
        run,
        path,
        files,
        is_whole,
        resume=("train longer" if run.is_finished else f"resume after {epochs}") if goes_on else "",
        uses=uses,
        verdicts=[str(usage) for usage in experiments] if is_whole else [],
        evidence=record,
    )


def require_no_verdicts(plans: Sequence[Deletion]) -> None:
    """Refuse to delete a run that a study or a search stands on.

    Raises:
        UserError: there is one
    """
    for plan in plans:
        if plan.verdicts:
            what = f"{plan.path} is a run of {plan.verdicts[0]}, which then can't be computed again"
            raise UserError(what, "--dry-run says what else is lost; --force deletes it")


def delete_runs(index: RunIndex, plans: Iterable[Deletion], *, force: bool = False) -> None:
    """Delete what was planned, run by run.

    Args:
        index: the folder of the runs
        plans: what to delete
        force: delete a run, too, whose openings of the test split can't be read

    Raises:
        RunFolderError: a run is in use, or its openings can't be read; those before are deleted
        StorageError: the disk refused
    """
    for plan in plans:
        with RunFolder(plan.path).lock():
            if plan.is_whole:
                try:
                    record_removal(index.root, RunFolder(plan.path))
                except RunFolderError as error:
                    if not force:
                        hint = f"{error.hint}; --force deletes the run, and forgets its openings"
                        raise RunFolderError(error.what, hint) from error
            delete_files(plan.path, plan.files)


def find_entries(index: RunIndex, paths: Iterable[Path]) -> list[Entry]:
    """Return the entries of runs, and of all runs in folders.

    Args:
        index: the folder of the runs
        paths: of runs, or of folders of them

    Raises:
        UserError: one is not in the index's folder
        RunFolderError: there is no run in one
    """
    runs = index.listing().runs
    entries: dict[str, Entry] = {}
    for path in paths:
        folder = path.resolve()
        is_root_a_run = any(not run.url_path for run in runs)  # what outlives it needs a place
        if is_root_a_run or not folder.is_relative_to(index.root):
            hint = "name the folder that all these runs are in with --folder"
            raise UserError(f"{path} is not in {index.root}", hint)
        matches = [run for run in runs if (index.root / run.url_path).is_relative_to(folder)]
        if not matches:
            raise RunFolderError(f"there is no run in {path}", "'cifarlab runs list' lists all")
        entries |= {run.url_path: run for run in matches}
    return [*entries.values()]


def removal_json(plans: Iterable[Deletion]) -> list[dict[str, Any]]:
    """Return what is deleted and lost as plain values."""
    return [
        {
            "run": plan.run.url_path,
            "is_whole": plan.is_whole,
            "bytes": plan.n_bytes,
            "parts": plan.bytes_by_part,
            "resume": plan.resume,
            "uses": plan.uses,
            "verdicts": plan.verdicts,
            "evidence": plan.evidence,
            "openings": plan.run.n_openings,
        }
        for plan in plans
    ]


def removal_table(plans: Iterable[Deletion]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headers and cells: a row for each run."""
    headers = ("run", "deleted", "bytes", "lost", "verdicts")
    cells: list[tuple[str, ...]] = [
        (
            plan.run.url_path,
            "the run" if plan.is_whole else ", ".join(plan.bytes_by_part),
            f"{plan.n_bytes:,}",
            "; ".join(filter(None, [plan.resume, *plan.uses])),
            f"kept as evidence of record {plan.evidence}"
            if plan.evidence
            else "; ".join(plan.verdicts),
        )
        for plan in plans
    ]
    return headers, cells


def describe_removal(plans: Sequence[Deletion], *, is_dry: bool) -> list[str]:
    """Return the sum of all deletions in sentences."""
    size = memory(sum(plan.n_bytes for plan in plans)).replace("\u00a0", " ")
    verb = "would be deleted" if is_dry else "are deleted"
    lines = [f"{len(plans):,} run{'' if len(plans) == 1 else 's'}: {size} {verb}"]
    losses = [
        ("resumes of unfinished runs", sum(plan.resume.startswith("resume") for plan in plans)),
        ("predictions of runs", sum("predictions" in plan.bytes_by_part for plan in plans)),
        ("runs that verdicts stand on", sum(bool(plan.verdicts) for plan in plans)),
    ]
    if any(n for _, n in losses):
        lines.append("lost: " + ", ".join(f"{what} ({n:,})" for what, n in losses if n))
    if n := sum(plan.run.n_openings for plan in plans if plan.is_whole):
        openings = "1 opening" if n == 1 else f"{n:,} openings"
        lines.append(f"{openings} of the test split stay{'s' * (n == 1)} counted")
    return lines
