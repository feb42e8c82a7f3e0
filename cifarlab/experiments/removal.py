"""Delete runs, or parts of them, and say before what that costs.

Two things outlive each deletion: the count of a run's openings of the test split
(run_folder/removals.py), and the evidence of a record, which is never deleted.

A plan may be old when a run's turn comes. So each run is read and planned again under its lock, and
stays where anything is not as it was.
"""

from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from cifarlab.experiments.removal_table import Deletion, RemovalTable
from cifarlab.experiments.usages import EVIDENCE_PARTS, Usage, find_collections, find_usages
from cifarlab.run_folder.contents import RESULTS, delete_files, list_files
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import Entry, RunIndex, read_entry, walk
from cifarlab.run_folder.openings import read_judgements
from cifarlab.run_folder.removals import record_removal
from cifarlab.system.errors import CifarlabError, RunFolderError, UserError
from cifarlab.system.files import is_folder, lock_folder

_LOSSES = {
    "weights": "predict, evaluate, explain",
    "predictions": "compare --by image",
    "tensor-stats": "histograms",
    "audit": "an audit's findings",
}
_WAIT = "wait for it or end it, then delete again"


class RemovalOptions(NamedTuple):
    """What is deleted of runs: all but the parts in ``keep`` (contents.py), or with None all.

    ``force`` deletes also runs that verdicts stand on, ``forget_openings`` also those whose
    openings of the test split can't be read.
    """

    keep: Collection[str] | None = None
    force: bool = False
    forget_openings: bool = False


def remove_runs(
    index: RunIndex,
    runs: Iterable[Entry],
    options: RemovalOptions,
    *,
    dry_run: bool = False,
    confirm: Callable[[RemovalTable], None] = lambda _: None,
) -> RemovalTable:
    """Delete runs, or parts of them; return what was deleted, and why others were not.

    Args:
        index: the folder of the runs
        runs: some of its runs
        options: what is deleted of them
        dry_run: delete nothing, and return what would be deleted
        confirm: called with what would be deleted, before anything is; it may raise

    Raises:
        UserError: the folder is itself a run, or a study or a search stands on a run
        RunFolderError: a run's openings of the test split can't be read
    """
    entries = {index.root / run.url_path: run for run in runs}
    if index.root in entries:
        what = f"{index.root} is a run itself"
        raise UserError(what, "name the folder that it is in with --folder")
    usages = find_usages(entries)
    plans = [_plan(path, run, options.keep, usages[path]) for path, run in entries.items()]
    preview = RemovalTable([plan for plan in plans if plan.files], is_dry=True)
    if dry_run:
        return preview
    for plan in preview.plans:
        _require_allowed(plan, options)
    confirm(preview)
    removal = RemovalTable([], is_dry=False)
    for plan in preview.plans:
        try:
            removal.plans.append(_delete(plan, options))
        except CifarlabError as error:
            removal.refusals.append(error)
    return removal


def _plan(path: Path, run: Entry, keep: Collection[str] | None, usages: list[Usage]) -> Deletion:
    record = next((usage.name for usage in usages if usage.kind == "record"), "")
    kept_parts = {*(keep or ()), *((RESULTS, *EVIDENCE_PARTS) if record else ())}
    files = [file for file in list_files(path) if file.part not in kept_parts]
    parts = {file.part for file in files}
    is_whole = keep is None and not record
    resume = ""
    if "checkpoints" in parts or "weights" in parts:
        resume = "train longer" if run.is_finished else f"resume after {run.epochs or 0} epochs"
    verdicts = [str(usage) for usage in usages if is_whole and usage.kind != "record"]
    if "predictions" in parts and not is_whole:
        verdicts = [f"{usage} image by image" for usage in usages if usage.kind == "study"]
    return Deletion(
        run,
        path,
        files,
        is_whole,
        resume,
        uses=[loss for part, loss in _LOSSES.items() if part in parts],
        verdicts=verdicts,
        evidence=record,
        n_openings=_count_openings(path) if run.problem else run.n_openings,
    )


def _count_openings(path: Path) -> int | None:
    try:
        return len(read_judgements(RunFolder(path)).openings)
    except RunFolderError:
        return None


def _require_allowed(plan: Deletion, options: RemovalOptions) -> None:
    """Refuse to delete a run that a verdict stands on, or whose openings are not known.

    Raises:
        UserError: there is a verdict, and no ``force``
        RunFolderError: the openings can't be read, and are not to be forgotten
    """
    if not plan.is_whole:
        return
    if plan.verdicts and not options.force:
        what = f"{plan.path} is a run of {plan.verdicts[0]}, which then can't be computed again"
        raise UserError(what, "--dry-run says what else is lost; --force deletes it")
    if plan.n_openings is None and not options.forget_openings:
        what = f"{plan.path}/provenance.json can't be read: it counts openings of the test split"
        raise RunFolderError(what, "restore it; --forget-openings deletes the run, and the count")


def _delete(plan: Deletion, options: RemovalOptions) -> Deletion:
    """Delete what was planned of a run, and return what that was.

    Raises:
        RunFolderError: the run, or what stands on it, is in use, or has changed since
        StorageError: the disk refused
    """
    path = plan.path
    with ExitStack() as locks:
        locks.enter_context(RunFolder(path).lock(_WAIT))
        usages = find_usages([path])[path]
        for folder in {*find_collections(path), *(usage.folder for usage in usages)}:
            locks.enter_context(lock_folder(folder, _in_use(folder)))
        now = _plan(path, read_entry(path, plan.run.url_path), options.keep, usages)
        if now._replace(files=plan.files) != plan:
            raise RunFolderError(f"{path} has changed since", "look at it, then delete it again")
        for lock in (file.path for file in now.files if file.path.name == ".lock"):
            with lock_folder(lock.parent, _in_use(lock.parent)):  # an audit, or one of its folds
                pass
        if now.is_whole and now.n_openings is not None:
            record_removal(RunFolder(path))
        delete_files(path, now.files)
    return now


def _in_use(folder: Path) -> RunFolderError:
    return RunFolderError(f"{folder} is in use by another process", _WAIT)


def find_entries(index: RunIndex, paths: Iterable[Path]) -> list[Entry]:
    """Return the entries of runs, and of all runs in folders.

    Args:
        index: the folder of the runs
        paths: of runs, or of folders of them

    Raises:
        UserError: one is not in the index's folder, or a link
        RunFolderError: there is no run in one, or more folders than are looked at
    """
    entries: dict[str, Entry] = {}
    for path in paths:
        _require_inside(path, index.root)
        folder = path.resolve()
        folders = list(walk(folder)) if is_folder(folder) else []
        if reasons := [reason for each, _, reason in folders if reason and not each]:
            raise RunFolderError(f"{path}: {reasons[0]}", "name the folders in it one by one")
        runs = [index.url_path(folder / each) for each, kind, _ in folders if kind == "run"]
        if not runs:
            raise RunFolderError(f"there is no run in {path}", "'cifarlab runs list' lists all")
        entries |= {run: read_entry(index.root / run, run) for run in runs}
    return [*entries.values()]


def _require_inside(path: Path, root: Path) -> None:
    """Refuse what is not in a folder, leads elsewhere, or is in a run of that folder."""
    if not path.resolve().is_relative_to(root):
        hint = "name the folder that all these runs are in with --folder"
        raise UserError(f"{path} is not in {root}", hint)
    for part in (path.absolute(), *path.absolute().parents):
        if part.resolve() == root:
            return
        if part.is_symlink():
            raise UserError(f"{part} is a link to {part.readlink()}", "name that run itself")
        if part != path.absolute() and RunFolder(part).exists:
            raise UserError(f"{path} is in the run {part}", "name that run")
