"""Runs a search: everything is checked, Ray Tune trains the trials, the record is explained."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifarlab.config.duration import WallTime
from cifarlab.config.plugins import copy_plugins, plugin_hashes
from cifarlab.experiments.search.cluster import TrialResources, connect_ray, require_extra
from cifarlab.experiments.search.definition import Search, validate
from cifarlab.experiments.search.event_log import EventLog, Log
from cifarlab.experiments.search.finalists import Finalists, retrain_finalists, stored_finalists
from cifarlab.experiments.search.folder import SearchFolder, search_folder, trial_name
from cifarlab.experiments.search.results import SearchResults, read_results
from cifarlab.experiments.search.trial_history import Trial
from cifarlab.experiments.search.writing import write_results
from cifarlab.plots.spec import require_formats
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder.naming import RUNS
from cifarlab.system.errors import (
    CifarlabError,
    Interrupted,
    RunFolderError,
    StorageError,
    UserError,
)
from cifarlab.system.files import write_text
from cifarlab.system.signals import StopRequest, stop_on_signal
from cifarlab.system.threads import available_threads

if TYPE_CHECKING:
    from ray.tune import Trainable

_FAILURES = 3  # deaths of its worker that a trial survives


class FinishedSearch(NamedTuple):
    """A search's end: its folder, what it found, and what could not be made."""

    folder: SearchFolder
    results: SearchResults
    finalists: Finalists | None
    problems: list[str]

    @property
    def n_failed(self) -> int:
        """How many trials failed, and runs of finalists."""
        trials = sum(row.trial.failure is not None for row in self.results.rows)
        return trials + (self.finalists.n_failed if self.finalists else 0)


class _SearchRequest(NamedTuple):
    """How a search is run: what is the same for all its trials."""

    search: Search
    base: Recipe
    scale: float
    folder: SearchFolder
    command: str
    max_time: WallTime | None
    worker: "type[Trainable] | None"


def run_search(
    search: Search,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    max_time: WallTime | None = None,
    resume: bool = False,
    n_seeds: int | None = None,
    scale: float = 1.0,
    data: str | None = None,
    runs: Path = RUNS,
    formats: Sequence[str] = ("svg",),
    command: str = "cifarlab.experiments.search.engine.run_search",
    log: Log = lambda _line: None,
    worker: "type[Trainable] | None" = None,
) -> FinishedSearch:
    """Train the trials of ``search`` that are missing, and explain all.

    ``jobs`` trials at a time, on this machine or on the Ray cluster at the address ``cluster``,
    until ``max_time`` is used up. Trials that a stopped or killed search left unfinished need
    ``resume``. With ``n_seeds``, the finalists are trained anew on this machine with so many other
    seeds, once no trial is left to train. ``formats`` are the figures'. ``worker`` takes the place
    of the one that trains. Raises RecipeError, UserError, MissingExtraError, RunFolderError,
    StorageError, Interrupted.
    """
    _require_sound(jobs, n_seeds, formats)
    base = search.base_recipe(data)
    validate(search, base)
    search.trial_recipe({}, base, scale)  # a scale out of range is refused here
    require_extra(cluster)
    folder = search_folder(search, scale, data, runs)
    request = _SearchRequest(search, base, scale, folder, command, max_time, worker)
    with folder.in_use():
        _require_same_search(request)
        event_log = EventLog(folder, log)
        n_pending = _count_pending(request, event_log, resume)
        if worker is None:
            _require_same_images(request, event_log, n_pending, log)
        if n_pending:
            log(f"{search.name}: {n_pending} trials to train; {folder.path}")
            if cluster is None and (note := available_threads().note):
                log(note)
            _train_trials(request, event_log, jobs, cluster)
        results = read_results(search, scale, folder)
        problems = _unfinished_notes(request, event_log)
        if n_seeds is None:
            finalists = stored_finalists(results, folder)
        elif problems or not results.best_row:  # out of budget, or all failed: there are no best
            finalists = None
        else:
            here = 1 if cluster else jobs or 1
            finalists = retrain_finalists(
                search, results, folder, n_seeds, here, formats, command, log
            )
        problems += write_results(results, finalists, folder, formats)
        _write_best(request, results)
    return FinishedSearch(folder, results, finalists, problems)


def _require_sound(jobs: int | None, seeds: int | None, formats: Sequence[str]) -> None:
    require_formats(formats)
    for option, number in (("--jobs", jobs), ("--n-seeds", seeds)):
        if number is not None and number < 1:
            raise UserError(f"{option} {number}: that is too few", "take 1 or more")


def _require_same_search(request: _SearchRequest) -> None:
    """Refuse to go on with another search than was begun; more trials are welcome."""
    current, base = request.search.model_dump(mode="json"), request.base.model_dump(mode="json")
    content = request.folder.content()
    if content:
        stored, wanted = map(_comparable, (content.get("search", {}), current))
        if changed := [key for key in wanted if wanted[key] != stored.get(key)]:
            raise RunFolderError(
                f"{request.folder.path} was begun with another {', '.join(changed)}",
                "leave that as it was, or give the search another name to begin anew",
            )
        if _comparable(content.get("base", {})) != _comparable(base):
            raise RunFolderError(
                f"{request.folder.path} was begun with other settings of {request.search.recipe}",
                "restore them, or give the search another name to begin anew",
            )
    copy_plugins((*request.search.plugins, *request.base.plugins), request.folder.path)
    header = {
        "search": current,
        "base": base,
        "metric": request.base.evaluation.metric.facts._asdict(),
        "scale": request.scale,
        "command": request.command,
    }
    request.folder.write({**content, **header})


def _comparable(tree: dict[str, Any]) -> dict[str, Any]:
    """What of a search or recipe may not change: not how many trials, nor what watches them."""
    free = dict.fromkeys(("trials", "about", "callbacks"))
    return {**tree, **free, "plugins": plugin_hashes(tree)}


def _require_same_images(
    request: _SearchRequest, event_log: EventLog, n_pending: int, log: Log
) -> None:
    """Decode the images once, before many workers wait for one of them.

    Raises DataError, and RunFolderError where earlier trials were trained on others. Where no trial
    is left to train, images that can't be opened any more are not missed.
    """
    from cifarlab.data.opening import open_data

    try:
        dataset = open_data(request.base.data, log=log if n_pending else None).dataset
    except CifarlabError:
        if n_pending:
            raise
        return
    for number in event_log.history.trials:
        if not request.folder.trial(number).has_same_data(dataset.fingerprint):
            raise RunFolderError(
                f"the images are not those that {request.folder.path} was begun with",
                "restore them, or give the search another name to begin anew",
            )


def _unfinished(request: _SearchRequest, event_log: EventLog) -> list[Trial]:
    """Trials that have not ended, or were stopped at a rung and have no result yet."""
    return [
        trial
        for trial in event_log.history.trials.values()
        if trial.stop_reason is None
        or (
            (trial.stop_reason == "stopped" and not request.worker)
            and not request.folder.trial(trial.number).finished
        )
    ]


def _unfinished_notes(request: _SearchRequest, event_log: EventLog) -> list[str]:
    """That some trials are not finished, in words."""
    count = len(_unfinished(request, event_log))
    count += max(0, request.search.trials - len(event_log.history.trials))
    if not count:
        return []
    return [f"{count} trials are not finished; go on with: {_resume_command(request.command)}"]


def _resume_command(command: str) -> str:
    return command if "--resume" in command.split() else f"{command} --resume"


def _count_pending(request: _SearchRequest, event_log: EventLog, resume: bool) -> int:
    """How many trials are to be trained. Raises RunFolderError where ``resume`` is missing."""
    unfinished = _unfinished(request, event_log)
    if unfinished and not resume:
        raise RunFolderError(
            f"{request.folder.path}: {trial_name(unfinished[0].number)} was begun and is not "
            "finished",
            f"go on with: {_resume_command(request.command)}",
        )
    return len(unfinished) + max(0, request.search.trials - len(event_log.history.trials))


def _train_trials(
    request: _SearchRequest, event_log: EventLog, jobs: int | None, cluster: str | None
) -> None:
    """Train until all is done, the time is used up, or somebody asks to stop."""
    # Ray sets a handler of its own when it starts
    with connect_ray(jobs, cluster) as resources, stop_on_signal() as stop:
        n_before = -1
        while (n_left := _count_pending(request, event_log, resume=True)) and n_left != n_before:
            # a second pass only finishes runs whose workers went before they could
            if _run_tune(request, event_log, resources, stop):
                break
            n_before = n_left
    if stop.signum:
        done = sum(trial.stop_reason is not None for trial in event_log.history.trials.values())
        raise Interrupted(
            f"interrupted after {done} of {request.search.trials} trials; their checkpoints are "
            "written",
            f"go on with: {_resume_command(request.command)}",
            stop.signum,
        )


def _run_tune(
    request: _SearchRequest, event_log: EventLog, resources: TrialResources, stop: StopRequest
) -> bool:
    """One run of Ray Tune; whether it was ended before its time. Raises StorageError."""
    from ray import tune

    from cifarlab.experiments.search.rung_scheduler import RungScheduler
    from cifarlab.experiments.search.searcher import TrialSearcher
    from cifarlab.experiments.search.stopper import Stopper
    from cifarlab.experiments.search.worker import Worker

    unfinished = _unfinished(request, event_log)
    n_new = max(0, request.search.trials - len(event_log.history.trials))
    searcher = TrialSearcher(
        request.search, request.base, request.scale, event_log, unfinished, resources.threads
    )
    stopper = Stopper(request.max_time, lambda: bool(stop.signum or searcher.fatal))
    tune_dir = request.folder.path.resolve() / ".tune"
    shutil.rmtree(tune_dir, ignore_errors=True)  # of a driver that was killed
    try:
        tune.run(
            request.worker or Worker,
            name="tune",
            storage_path=str(tune_dir),
            search_alg=searcher,
            scheduler=RungScheduler(
                request.search, request.scale, event_log, request.base.evaluation.metric.facts
            ),
            stop=stopper,
            num_samples=len(unfinished) + n_new,
            max_concurrent_trials=resources.jobs,
            resources_per_trial={"cpu": resources.threads, "gpu": resources.gpus},
            reuse_actors=True,
            max_failures=_FAILURES,
            raise_on_failed_trial=False,
            trial_name_creator=_trial_id,
            trial_dirname_creator=_trial_id,
            verbose=0,
        )
    finally:
        shutil.rmtree(tune_dir, ignore_errors=True)
    if searcher.fatal:
        raise StorageError(*searcher.fatal)
    return stopper.stop_all()


def _trial_id(trial: Any) -> str:
    return str(trial.trial_id)


def _write_best(request: _SearchRequest, results: SearchResults) -> None:
    """The best trial's recipe: as it was trained, but for the test split, which it may open."""
    if best := results.best_row:
        recipe = request.search.trial_recipe(best.trial.params, request.base, request.scale)
        name = f"{request.search.name}/{trial_name(best.trial.number)}"
        write_text(request.folder.best_recipe, to_yaml(recipe.model_copy(update={"name": name})))
