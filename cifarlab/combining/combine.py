"""Make one run of several: its folder predicts, is measured, exported and served like any."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from cifarlab.combining.members import MemberRuns, load_members
from cifarlab.combining.record import record_gain, record_members
from cifarlab.combining.soup import average_weights
from cifarlab.data.dataset import Log, Progress
from cifarlab.experiments.study.finished_runs import find_runs
from cifarlab.models.ensemble import join_classifiers
from cifarlab.models.network import parameter_roles
from cifarlab.optim.optimizers import build_optimizer
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import new_folder
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.files import sha256
from cifarlab.training.callback import Callback
from cifarlab.training.finish import finish
from cifarlab.training.run import Run, Session
from cifarlab.training.setup import prepare
from cifarlab.training.state import State, Totals
from cifarlab.training.train import train

Method = Literal["ensemble", "soup", "distilled"]
METHODS: tuple[Method, ...] = get_args(Method)


class CombineSession(NamedTuple):
    """``command`` is recorded; the others are called while data are read and a student trains."""

    command: str = "cifarlab.combine"
    progress: Progress | None = None
    log: Log | None = None
    callbacks: Sequence[Callback] = ()


def combine_runs(
    paths: Sequence[Path],
    method: str = "ensemble",
    *,
    row: str | None = None,
    run: Path | None = None,
    test: bool = False,
    session: CombineSession = CombineSession(),  # noqa: B008  # frozen
) -> tuple[RunFolder, list[str]]:
    """Combine finished runs; return the new run's folder, and what it gains, in sentences.

    In a folder where this very combination was begun and killed, it is brought to its end.

    Args:
        paths: folders of runs, or of studies
        method: ensemble: mean probabilities; soup: mean weights; distilled: a network of the first
            run's recipe, trained with an ensemble as its teacher, which is made beside it
        row: the study's row, all of whose seeds are taken; None: see ``find_runs``
        run: the new folder; None: one under runs/
        test: measure on the test images, too; each opening is recorded
        session: what is recorded and called meanwhile

    Raises:
        UserError: there is no such method, the runs can't be combined, or a soup is worse than they
        RunFolderError: ``run`` holds something else, or this combination, complete
        CifarlabError: a run, its weights or its data can't be read, or a student can't be trained
    """
    if method not in METHODS:
        raise UserError(f"runs are not combined as {method!r}", f"take {', '.join(METHODS)}")
    if run:  # before anything is made, or a test split is opened
        _require_free(RunFolder(run), method)
        if method == "distilled":
            _require_free(RunFolder(_teacher_path(run)), "ensemble", or_complete=True)
    sources = [find_runs(path, row) for path in paths]
    folders = [folder for runs in sources for folder in runs.folders]
    choices = [runs.choice for runs in sources if runs.choice]
    members = load_members(folders, session.progress, session.log, choices)
    if method == "distilled":
        return _distill(members, run, test, session)
    return _join(members, method, run, test, session)


def _teacher_path(path: Path) -> Path:
    """Return the folder of a student's teacher."""
    return path.with_name(f"{path.name}-teacher")


def _require_free(
    folder: RunFolder, method: str, recipe: Recipe | None = None, *, or_complete: bool = False
) -> None:
    """Refuse a folder that holds anything but the beginning of such a combination.

    Args:
        folder: where it is to be
        method: how runs are combined
        recipe: of the combination; None: not known yet
        or_complete: whether it may be there as a whole

    Raises:
        RunFolderError: the folder holds something else
    """
    if folder.is_vacant:
        return
    if folder.exists:
        theirs = folder.recipe()
        if recipe:
            is_this = fingerprint(theirs) == fingerprint(recipe)
        else:
            is_this = _method_of(theirs, folder.path) == method
        if is_this and (or_complete or not _is_complete(folder)):
            return
    what = f"{folder.path} holds {'a run' if folder.exists else 'other files'} already"
    raise RunFolderError(what, "give another folder with --run")


def _method_of(recipe: Recipe, path: Path) -> str | None:
    """Return how the run in a folder was combined of others; None where it was not, or not here."""
    if recipe.combination:
        return recipe.combination.method
    settings = recipe.training.distillation
    is_here = settings and Path(settings.teacher) == _teacher_path(path.resolve())
    return "distilled" if is_here else None


def _is_complete(folder: RunFolder) -> bool:
    """Return whether a combination ended and was compared with its members."""
    return "combination" in (folder.result() or {})


def _join(
    members: MemberRuns,
    method: str,
    path: Path | None,
    test: bool,
    session: CombineSession,
    *,
    or_complete: bool = False,
) -> tuple[RunFolder, list[str]]:
    """Make the run of an ensemble or a soup, or take what is there of it. Raises CifarlabError."""
    is_soup = method == "soup"
    others = [] if is_soup else [m.recipe.model.model_dump(mode="json") for m in members.runs[1:]]
    combination = {
        "method": method,
        "members": [run.weights_sha256 for run in members.runs],
        "other_models": others,
    }
    recipe = _derive(members, method, {"combination": combination}, test)
    folder = RunFolder(path) if path else new_folder(recipe)
    with folder.lock():
        _require_free(folder, method, recipe, or_complete=or_complete)
        if not folder.is_finished:
            _write_run(recipe, folder, members, session)
        if _is_complete(folder):
            return folder, []
        return folder, record_gain(folder, members, session.command)


def _write_run(
    recipe: Recipe, folder: RunFolder, members: MemberRuns, session: CombineSession
) -> None:
    """Write the run of an ensemble or a soup, and measure it. Raises CifarlabError."""
    first = members.first.predictor
    if recipe.combination and recipe.combination.method == "soup":
        classifier = average_weights(members)
    else:
        classifier = join_classifiers([run.predictor.classifier for run in members.runs])
    run = prepare(recipe, folder, Session(command=session.command, progress=session.progress))
    record_members(folder, members)
    device = run.compute.device
    roles = parameter_roles(classifier)
    run.state = State(
        classifier.to(device),
        build_optimizer(recipe.optimizer, roles, run.compute.precision),
        Totals.zero(device),
        epoch=first.epoch,
        step=first.step,
    )
    run.weights_file.write(run.checkpoints.last, classifier)
    finish(run, "planned")


def _distill(
    members: MemberRuns, path: Path | None, test: bool, session: CombineSession
) -> tuple[RunFolder, list[str]]:
    """Train a student with the ensemble as its teacher. Raises CifarlabError."""
    sibling = path and _teacher_path(path)
    teacher, _ = _join(members, "ensemble", sibling, test, session, or_complete=True)
    distillation = {
        "teacher": str(teacher.path.resolve()),
        "weights_sha256": sha256(teacher.measured_weights()),
    }
    recipe = _derive(members, "distilled", {"training.distillation": distillation}, test)
    folder = RunFolder(path) if path else new_folder(recipe)
    _require_free(folder, "distilled", recipe)
    if not folder.is_finished:
        train(
            recipe,
            folder,
            resume=folder.exists,
            callbacks=[_MembersNote(members), *session.callbacks],
            command=session.command,
            progress=session.progress,
        )
    with folder.lock():
        return folder, record_gain(folder, members, session.command)


def _derive(members: MemberRuns, method: str, changes: dict[str, Any], test: bool) -> Recipe:
    """Return the first member's recipe with changes; the plug-ins are those of all members."""
    first = members.first.recipe
    plugins = [plugin for run in members.runs for plugin in run.recipe.plugins]
    settings = {"name": f"{first.name}-{method}", "evaluation.test": test, **changes}
    if method != "distilled":  # a combination has no epochs to choose from
        settings["evaluation.checkpoint"] = "last"
    return change(first.add_plugins(plugins), settings)


class _MembersNote(Callback):
    """Notes a student's members when it begins: it may be interrupted, and resumed without us."""

    def __init__(self, members: MemberRuns) -> None:
        self._members = members

    def on_train_start(self, run: Run) -> None:
        """Write them into the provenance."""
        record_members(run.folder, self._members)
