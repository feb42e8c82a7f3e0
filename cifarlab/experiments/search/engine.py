"""Runs a search: everything is checked, Ray Tune trains the trials, the record is explained."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifarlab.config.duration import WallTime
from cifarlab.experiments.search.cluster import Share, connected, require_extra
from cifarlab.experiments.search.definition import Search, validate
from cifarlab.experiments.search.event_log import Notes, Tell
from cifarlab.experiments.search.finalists import Finals, earlier, rerun
from cifarlab.experiments.search.folder import SearchFolder, search_folder, trial_name
from cifarlab.experiments.search.results import Explained, explain
from cifarlab.experiments.search.trial_history import Trial
from cifarlab.experiments.search.writing import write_explained
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import to_yaml
from cifarlab.runs.naming import RUNS
from cifarlab.system.errors import (
    CifarlabError,
    Interrupted,
    RunFolderError,
    StorageError,
    UserError,
)
from cifarlab.system.files import write_text
from cifarlab.system.signals import Stop, stop_on_signal
from cifarlab.system.threads import available_threads

if TYPE_CHECKING:
    from ray.tune import Trainable

_FAILURES = 3  # deaths of its worker that a trial survives


class Searched(NamedTuple):
    """A search's end: its folder, what it found, and what could not be made."""

    folder: SearchFolder
    explained: Explained
    finals: Finals | None
    problems: list[str]

    @property
    def failed(self) -> int:
        """How many trials failed, and runs of finalists."""
        trials = sum(row.trial.failure is not None for row in self.explained.rows)
        return trials + (self.finals.failed if self.finals else 0)


class _Asked(NamedTuple):
    """How a search is run: what is the same for all its trials."""

    search: Search
    base: Recipe
    scale: float
    folder: SearchFolder
    command: str
    budget: WallTime | None
    worker: "type[Trainable] | None"


def run_search(
    search: Search,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    budget: WallTime | None = None,
    resume: bool = False,
    n_seeds: int | None = None,
    scale: float = 1.0,
    data: str | None = None,
    runs: Path = RUNS,
    command: str = "cifarlab.experiments.search.engine.run_search",
    tell: Tell = lambda _line: None,
    worker: "type[Trainable] | None" = None,
) -> Searched:
    """Train the trials of ``search`` that are missing, and explain all.

    ``jobs`` trials at a time, on this machine or on the Ray cluster at the address ``cluster``,
    until ``budget`` is used up. Trials that a stopped or killed search left unfinished need
    ``resume``. With ``n_seeds``, the finalists are trained anew on this machine with so many other
    seeds, once no trial is left to train. ``worker`` takes the place of the one that trains.
    Raises RecipeError, UserError, MissingExtraError, RunFolderError, StorageError, Interrupted.
    """
    for option, number in (("--jobs", jobs), ("--n-seeds", n_seeds)):
        if number is not None and number < 1:
            raise UserError(f"{option} {number}: that is too few", "take 1 or more")
    base = search.base(data)
    validate(search, base)
    search.drawn({}, base, scale)  # a scale out of range is refused here
    require_extra(cluster)
    folder = search_folder(search, scale, data, runs)
    asked = _Asked(search, base, scale, folder, command, budget, worker)
    with folder.in_use():
        _require_same(asked)
        notes = Notes(folder, tell)
        todo = _todo(asked, notes, resume)
        if worker is None:
            _require_same_images(asked, notes, todo, tell)
        if todo:
            tell(f"{search.name}: {todo} trials to train; {folder.path}")
            if cluster is None and (note := available_threads().note):
                tell(note)
            _train(asked, notes, jobs, cluster)
        explained = explain(search, scale, folder)
        problems = _left(asked, notes)
        if n_seeds is None:
            finals = earlier(explained, folder)
        elif problems or not explained.best:  # out of budget, or all failed: there are no best
            finals = None
        else:
            finals = rerun(
                search, explained, folder, n_seeds, 1 if cluster else jobs or 1, command, tell
            )
        problems += write_explained(explained, finals, folder)
        _write_best(asked, explained)
    return Searched(folder, explained, finals, problems)


def _require_same(asked: _Asked) -> None:
    """Refuse to go on with another search than was begun; more trials are welcome."""
    now = {**asked.search.model_dump(mode="json"), "trials": None, "about": None}
    content = asked.folder.content()
    if content:
        begun = {**content.get("search", {}), "trials": None, "about": None}
        if changed := [key for key in now if now[key] != begun.get(key)]:
            raise RunFolderError(
                f"{asked.folder.path} was begun with another {', '.join(changed)}",
                "leave that as it was, or give the search another name to begin anew",
            )
        if content.get("base") != asked.base.model_dump(mode="json"):
            raise RunFolderError(
                f"{asked.folder.path} was begun with other settings of {asked.search.recipe}",
                "restore them, or give the search another name to begin anew",
            )
    described = {
        "search": asked.search.model_dump(mode="json"),
        "base": asked.base.model_dump(mode="json"),
        "scale": asked.scale,
        "command": asked.command,
    }
    asked.folder.write({**content, **described})


def _require_same_images(asked: _Asked, notes: Notes, todo: int, tell: Tell) -> None:
    """Decode the images once, before many workers wait for one of them.

    Raises DataError, and RunFolderError where earlier trials were trained on others. Where no trial
    is left to train, images that can't be opened any more are not missed.
    """
    from cifarlab.data.opening import open_data

    try:
        dataset = open_data(asked.base.data, tell=tell if todo else None)
    except CifarlabError:
        if todo:
            raise
        return
    for number in notes.ledger.trials:
        if not asked.folder.trial(number).has_same_data(dataset.fingerprint):
            raise RunFolderError(
                f"the images are not those that {asked.folder.path} was begun with",
                "restore them, or give the search another name to begin anew",
            )


def _unfinished(asked: _Asked, notes: Notes) -> list[Trial]:
    """Trials that have not ended, or were stopped at a rung and have no result yet."""
    return [
        trial
        for trial in notes.ledger.trials.values()
        if trial.why is None
        or (
            (trial.why == "stopped" and not asked.worker)
            and not asked.folder.trial(trial.number).finished
        )
    ]


def _left(asked: _Asked, notes: Notes) -> list[str]:
    """That some trials are not finished, in words."""
    count = len(_unfinished(asked, notes))
    count += max(0, asked.search.trials - len(notes.ledger.trials))
    if not count:
        return []
    return [f"{count} trials are not finished; go on with: {_again(asked.command)}"]


def _again(command: str) -> str:
    return command if "--resume" in command.split() else f"{command} --resume"


def _todo(asked: _Asked, notes: Notes, resume: bool) -> int:
    """How many trials are to be trained. Raises RunFolderError where ``resume`` is missing."""
    begun = _unfinished(asked, notes)
    if begun and not resume:
        raise RunFolderError(
            f"{asked.folder.path}: {trial_name(begun[0].number)} was begun and is not finished",
            f"go on with: {_again(asked.command)}",
        )
    return len(begun) + max(0, asked.search.trials - len(notes.ledger.trials))


def _train(asked: _Asked, notes: Notes, jobs: int | None, cluster: str | None) -> None:
    """Train until all is done, the budget is used up, or somebody asks to stop."""
    # Ray sets a handler of its own when it starts
    with connected(jobs, cluster) as share, stop_on_signal() as stop:
        before = -1
        while (left := _todo(asked, notes, resume=True)) and left != before:
            # a second pass only finishes runs whose workers went before they could
            if _tune(asked, notes, share, stop):
                break
            before = left
    if stop.signum:
        done = sum(trial.why is not None for trial in notes.ledger.trials.values())
        raise Interrupted(
            f"interrupted after {done} of {asked.search.trials} trials; their checkpoints are "
            "written",
            f"go on with: {_again(asked.command)}",
            stop.signum,
        )


def _tune(asked: _Asked, notes: Notes, share: Share, stop: Stop) -> bool:
    """One run of Ray Tune; whether it was ended before its time. Raises StorageError."""
    from ray import tune

    from cifarlab.experiments.search.rung_scheduler import Judge
    from cifarlab.experiments.search.searcher import Draws
    from cifarlab.experiments.search.stopper import Stopper
    from cifarlab.experiments.search.worker import Worker

    begun = _unfinished(asked, notes)
    fresh = max(0, asked.search.trials - len(notes.ledger.trials))
    draws = Draws(asked.search, asked.base, asked.scale, notes, begun, share.threads)
    stopper = Stopper(asked.budget, lambda: bool(stop.signum or draws.fatal))
    place = asked.folder.path.resolve() / ".tune"
    shutil.rmtree(place, ignore_errors=True)  # of a driver that was killed
    try:
        tune.run(
            asked.worker or Worker,
            name="tune",
            storage_path=str(place),
            search_alg=draws,
            scheduler=Judge(asked.search, asked.scale, notes),
            stop=stopper,
            num_samples=len(begun) + fresh,
            max_concurrent_trials=share.jobs,
            resources_per_trial={"cpu": share.threads, "gpu": share.gpus},
            reuse_actors=True,
            max_failures=_FAILURES,
            raise_on_failed_trial=False,
            trial_name_creator=_short,
            trial_dirname_creator=_short,
            verbose=0,
        )
    finally:
        shutil.rmtree(place, ignore_errors=True)
    if draws.fatal:
        raise StorageError(*draws.fatal)
    return stopper.stop_all()


def _short(trial: Any) -> str:
    return str(trial.trial_id)


def _write_best(asked: _Asked, explained: Explained) -> None:
    """The best trial's recipe: as it was trained, but for the test split, which it may open."""
    if best := explained.best:
        recipe = asked.search.drawn(best.trial.values, asked.base, asked.scale)
        name = f"{asked.search.name}/{trial_name(best.trial.number)}"
        write_text(asked.folder.best, to_yaml(recipe.model_copy(update={"name": name})))
