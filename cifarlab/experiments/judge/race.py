"""A race as an experiment of the engine: the sides' runs of one seed after the other.

Who begins alternates from seed to seed. Everything is read from the run folders, so that a killed
race goes on as if nothing had happened. Where seconds count, a run that was left is not resumed but
started anew: its time has no pauses. Then each side also trains a few steps before the first run,
which would pay for what a process does once.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from cifarlab.data.opening import open_data
from cifarlab.evaluation.run_metrics import timing_problems, train_seconds
from cifarlab.experiments.engine import Experiment, Log
from cifarlab.experiments.judge.claims import CANDIDATE, Decision, Lap, Score
from cifarlab.experiments.worker import Failure, Job, JobResult
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import change, fingerprint
from cifarlab.run_folder.collection import Collection
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.naming import add_number
from cifarlab.run_folder.openings import describe_wear, find_runs
from cifarlab.run_folder.removals import find_removals
from cifarlab.run_folder.run_data import SPLIT_NAMES, RunData, dig, read_runs
from cifarlab.run_folder.schemas import Count, StoredModel
from cifarlab.system.errors import RunFolderError, UserError
from cifarlab.system.files import sha256

Decide = Callable[[Sequence[Lap]], Decision]
_ENVIRONMENT = ("cifarlab", "commit", "python", "libraries", "device", "precision", "processes")
_WARM_UP = "warm-up"


class RaceFile(StoredModel):
    """The content of race.json; ``spent_seconds`` are those of all starts, by the wall clock."""

    name: str = ""
    threads: Count = 1
    spent_seconds: float = 0.0


class RaceFolder(Collection):
    """The folder of a race: race.json, and a run folder for each side and seed."""

    what = "race"
    schema = RaceFile


class Race(Experiment):
    """The runs of a race; ``laps`` are its complete seeds, ``decision`` what follows from them."""

    def __init__(
        self,
        sides: Mapping[str, Recipe],
        seeds: Sequence[int],
        decide: Decide,
        folder: RaceFolder,
        command: str,
        log: Log,
        *,
        times_count: bool,
    ) -> None:
        self.laps: list[Lap] = []
        self.decision = decide([])
        self.failure: tuple[str, Failure] | None = None
        self._sides, self._seeds, self._decide = sides, seeds, decide
        self._folder, self._command, self._log = folder, command, log
        self.times_count, self._has_begun = times_count, False
        self.spent_seconds, self._clock = folder.content().get("spent_seconds", 0.0), 0.0
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
    def has_diverged(self) -> bool:
        """Return whether a run failed in a way that each further try of it would."""
        return self.failure is not None and self.failure[1].kind == "DivergenceError"

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds of the block as spent, also where it ends by an exception."""
        self._clock = time.monotonic()
        try:
            yield
        finally:
            self._note_time()

    def _note_time(self) -> None:
        """Write down what was spent since the last time: a kill must not give it back."""
        now = time.monotonic()
        self.spent_seconds, self._clock = self.spent_seconds + now - self._clock, now
        content = self._folder.content()
        self._folder.write({**content, "spent_seconds": self.spent_seconds})

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

    def on_end(self, job: Job, result: JobResult) -> None:
        """Log the end of a run; decide where its seed is complete."""
        if job.name == _WARM_UP:  # where it failed, the run itself will say so
            shutil.rmtree(job.path, ignore_errors=True)
            return
        self._note_time()
        if result.failure:
            self.failure = job.name, result.failure
            self._log(f"seed {job.recipe.seed}, {job.name} failed: {result.failure.what}")
            return
        score = self._score(read_runs([Path(job.path)], predictions=False)[0])
        accuracy = f"{SPLIT_NAMES[self.split]} accuracy {100 * score.accuracy:.2f} %"
        self._log(f"seed {job.recipe.seed}, {job.name}: {accuracy}, trained {score.seconds:.1f} s")
        self._read_laps()

    def environment(self) -> dict[str, Any]:
        """Return with what the latest complete run was made: versions, device, precision."""
        if not self.laps:
            return {}
        side = CANDIDATE if CANDIDATE in self._sides else next(iter(self._sides))
        provenance = self._run(side, self.laps[-1].seed).provenance()
        data = str(dig(provenance, "data", "name"))
        return {"data": data} | {key: provenance.get(key) for key in _ENVIRONMENT}

    def describe_wear(self, runs: Path) -> str:
        """Return how many other recipes under ``runs`` were judged on these test images."""
        if self.split != "test" or not self.laps:
            return ""
        own_runs = [self._run(side, self.laps[-1].seed) for side in self._sides]
        data = str(dig(own_runs[0].provenance(), "data", "fingerprint"))
        own_paths, removals = [run.path for run in own_runs], find_removals(runs)
        return describe_wear(find_runs(runs), data, own_paths, removals=removals)[0]

    def _warm_up(self, side: str) -> Job:
        """Return a run of a few steps whose result is thrown away."""
        changes = {"training.duration": "4 steps", "training.extensions": []}
        recipe = change(self._sides[side], {**changes, "evaluation.test": False})
        return Job(_WARM_UP, recipe, str(self._folder.path / f"{_WARM_UP}-{side}"), self._command)

    def _read_laps(self) -> None:
        """Add the seeds that are complete, one by one, as if each had just ended."""
        while not self.is_over:
            seed = self._seeds[len(self.laps)]
            folders = {side: self._run(side, seed) for side in self._sides}
            paths = [folder.path for folder in folders.values() if folder.is_finished]
            runs = read_runs(paths, predictions=False)
            sides = [side for side, folder in folders.items() if folder.is_finished]
            for side, run in zip(sides, runs, strict=True):
                self._require_own(run, side)
            if len(runs) < len(self._sides):
                return
            self.laps.append(self._lap(seed, dict(zip(sides, runs, strict=True))))
            self.decision = self._decide(self.laps)

    def _require_own(self, run: RunData, side: str) -> None:
        """Refuse a finished run of another recipe, as where the book was replaced."""
        recipe = self._sides[side].model_copy(update={"seed": run.recipe.seed})
        if fingerprint(run.recipe) != fingerprint(recipe):
            what = f"{run.path} is a run of another recipe than the {side}'s"
            raise RunFolderError(what, "move the folder of this race away, and go on with --resume")

    def _lap(self, seed: int, runs: Mapping[str, RunData]) -> Lap:
        files = [run.path / "predictions" / f"{self.split}.safetensors" for run in runs.values()]
        return Lap(
            seed=seed,
            scores={side: self._score(run) for side, run in runs.items()},
            is_identical=len({sha256(file) for file in files}) == 1,
            obstacle="; ".join(timing_problems([*runs.values()])),
        )

    def _score(self, run: RunData) -> Score:
        """Return what a finished run reached. Raises UserError without that split."""
        accuracy, seconds = run.split(self.split).get("accuracy"), train_seconds(run)
        if accuracy is None or seconds is None:
            what = f"{run.path} has no {SPLIT_NAMES[self.split]} accuracy to judge by"
            hint = "hold images out (data.val_fraction above 0), or open the test split"
            raise UserError(what, hint)
        return Score(accuracy=accuracy, seconds=seconds)

    def _run(self, side: str, seed: int) -> RunFolder:
        """Return the folder of a run: the finished one, or the one to train it in."""
        for number in count(1):
            folder = RunFolder(self._folder.path / add_number(f"{side}-s{seed}", number))
            if folder.is_finished or not (folder.exists and self.times_count):
                return folder
        raise AssertionError
