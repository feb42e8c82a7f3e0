"""A race as an experiment of the engine: the sides' runs of one seed after the other.

Who begins alternates from seed to seed. Everything is read from the run folders, so that a killed
race goes on as if nothing had happened. Where seconds count, a run that was left is not resumed but
started anew: its time has no pauses. Then each side also trains a few steps before the first run,
which would pay for what a process does once.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from cifarlab.data.opening import open_data
from cifarlab.experiments.engine import Log
from cifarlab.experiments.judge.claims import CANDIDATE, Decision, Lap, Score
from cifarlab.experiments.worker import Failure, Job, JobResult
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import add_number
from cifarlab.run_folder.run_data import SPLIT_NAMES, dig
from cifarlab.system.errors import UserError
from cifarlab.system.files import sha256

Decide = Callable[[Sequence[Lap]], Decision]
_ENVIRONMENT = ("cifarlab", "commit", "python", "libraries", "device", "precision", "processes")
_WARM_UP = "warm-up"
_SAME_MACHINE = ("device", "precision", "processes")


class Race:
    """The runs of a race; ``laps`` are its complete seeds, ``decision`` what follows from them."""

    def __init__(
        self,
        sides: Mapping[str, Recipe],
        seeds: Sequence[int],
        decide: Decide,
        path: Path,
        command: str,
        log: Log,
        *,
        times_count: bool,
    ) -> None:
        self.laps: list[Lap] = []
        self.decision = decide([])
        self.failure: tuple[str, Failure] | None = None
        self._sides, self._seeds, self._decide = sides, seeds, decide
        self._path, self._command, self._log = path, command, log
        self._times_count, self._has_begun = times_count, False
        self._warm_ups = [self._warm_up(side) for side in sides] if times_count else []
        self._read_laps()

    @property
    def is_over(self) -> bool:
        """Return whether no run is needed any more."""
        is_decided = self.decision.verdict != "undecided"
        # what can't be compared today can't be tomorrow
        return is_decided or bool(self.decision.reason) or len(self.laps) == len(self._seeds)

    @property
    def progress(self) -> str:
        """Return how many seeds are complete, in words."""
        return f"{len(self.laps)} of at most {len(self._seeds)} seeds"

    @property
    def split(self) -> str:
        """Return the split that is compared: test where each side opens it, else val."""
        is_open = all(recipe.evaluation.test for recipe in self._sides.values())
        return "test" if is_open else "val"

    @property
    def seconds(self) -> float:
        """Return how long the runs took so far."""
        return sum(score.seconds for lap in self.laps for score in lap.scores.values())

    def next_job(self) -> Job | None:
        """Return the next run of the seed that is not complete."""
        if self.is_over or self.failure:
            return None
        number = len(self.laps)
        seed = self._seeds[number]
        order = list(self._sides)[:: -1 if number % 2 else 1]
        side = next(s for s in order if not self._run(s, seed).is_finished)
        if not self._has_begun:
            open_data(self._sides[side].data, log=self._log)  # before any clock runs
            self._has_begun = True
        if self._warm_ups:
            return self._warm_ups.pop(0)
        self._log(f"seed {seed}, {side} ...")
        recipe = self._sides[side].model_copy(update={"seed": seed})
        return Job(side, recipe, str(self._run(side, seed).path), self._command)

    def on_epoch(self, job: Job, line: dict[str, Any]) -> bool:
        """Return True: each run of a race is trained to its end."""
        return True

    def on_end(self, job: Job, result: JobResult) -> None:
        """Log the end of a run; decide where its seed is complete."""
        if job.name == _WARM_UP:  # where it failed, the run itself will say so
            shutil.rmtree(job.path, ignore_errors=True)
            return
        if result.failure:
            self.failure = job.name, result.failure
            self._log(f"seed {job.recipe.seed}, {job.name} failed: {result.failure.what}")
            return
        score = self._score(RunFolder(job.path))
        accuracy = f"{SPLIT_NAMES[self.split]} accuracy {100 * score.accuracy:.2f} %"
        self._log(f"seed {job.recipe.seed}, {job.name}: {accuracy}, {score.seconds:.1f} s")
        self._read_laps()

    def environment(self) -> dict[str, Any]:
        """Return with what the latest complete run was made: versions, device, precision."""
        if not self.laps:
            return {}
        side = CANDIDATE if CANDIDATE in self._sides else next(iter(self._sides))
        provenance = self._run(side, self.laps[-1].seed).provenance()
        data = str(dig(provenance, "data", "name"))
        return {"data": data} | {key: provenance.get(key) for key in _ENVIRONMENT}

    def _warm_up(self, side: str) -> Job:
        """Return a run of a few steps whose result is thrown away."""
        changes = {"training.duration": "4 steps", "training.extensions": []}
        recipe = change(self._sides[side], {**changes, "evaluation.test": False})
        return Job(_WARM_UP, recipe, str(self._path / f"{_WARM_UP}-{side}"), self._command)

    def _read_laps(self) -> None:
        """Add the seeds that are complete, one by one, as if each had just ended."""
        while not self.is_over:
            seed = self._seeds[len(self.laps)]
            folders = {side: self._run(side, seed) for side in self._sides}
            if not all(folder.is_finished for folder in folders.values()):
                return
            self.laps.append(self._lap(seed, folders))
            self.decision = self._decide(self.laps)

    def _lap(self, seed: int, folders: Mapping[str, RunFolder]) -> Lap:
        scores = {side: self._score(folder) for side, folder in folders.items()}
        files = [f.predictions / f"{self.split}.safetensors" for f in folders.values()]
        is_identical = len({sha256(file) for file in files}) == 1
        machines = [f.provenance() for f in folders.values()]
        names = [k for k in _SAME_MACHINE if any(m.get(k) != machines[0].get(k) for m in machines)]
        obstacle = f"seed {seed} has another {' and '.join(names)} on each side" if names else ""
        return Lap(seed=seed, scores=scores, is_identical=is_identical, obstacle=obstacle)

    def _score(self, folder: RunFolder) -> Score:
        """Return what a finished run reached. Raises UserError without that split."""
        result = folder.result() or {}
        if (accuracy := dig(result, self.split, "accuracy")) is None:
            what = f"{folder.path} has no {SPLIT_NAMES[self.split]} accuracy to judge by"
            hint = "hold images out (data.val_fraction above 0), or open the test split"
            raise UserError(what, hint)
        cost = result["cost"]
        return Score(accuracy=accuracy, seconds=cost["train_seconds"] + cost["evaluate_seconds"])

    def _run(self, side: str, seed: int) -> RunFolder:
        """Return the folder of a run: the finished one, or the one to train it in."""
        for number in count(1):
            folder = RunFolder(self._path / add_number(f"{side}-s{seed}", number))
            if folder.is_finished or not (folder.exists and self._times_count):
                return folder
        raise AssertionError
