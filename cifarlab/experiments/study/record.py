"""What is known of each run of a study, kept in study.json as it changes."""

from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.data.config import Data
from cifarlab.data.sources import open_dataset
from cifarlab.experiments.study.comparison import Comparison, Outcome, compare
from cifarlab.experiments.study.definition import Study
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.experiments.study.outcomes import outcome, read_finished
from cifarlab.experiments.study.table import as_json
from cifarlab.experiments.study.workers import Failure, Job
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import fingerprint
from cifarlab.runs.folder import RunFolder
from cifarlab.runs.naming import finished_runs, latest_folder, new_folder
from cifarlab.system.errors import CifarlabError, FailedRunsError, RunFolderError, UserError


class Planned(NamedTuple):
    """One run of the study; ``wanted`` is false for rows that were left out this time."""

    row: str
    recipe: Recipe
    fingerprint: str
    wanted: bool


class Record:
    """What is known of each planned run, kept in study.json as it changes."""

    def __init__(
        self, study: Study, scale: float, planned: list[Planned], folder: StudyFolder, runs: Path
    ) -> None:
        self.study, self.scale, self.planned, self.folder = study, scale, planned, folder
        self.notes: list[str] = []  # what to know of the runs that are there
        self._images: dict[Data, str | None] = {}  # fingerprints, as far as they were asked for
        self.finished = self._reusable(runs)
        told = folder.content().get("runs", [])
        self.failures = {
            run.get("fingerprint", ""): Failure(f["kind"], f["what"], f.get("hint", ""))
            for run in told
            if (f := run.get("failure"))
        }

    def _reusable(self, runs: Path) -> dict[str, RunFolder]:
        """The finished run of each planned one, where there is one of the images of today.

        Best in the study's own folder. A run that its time limit ended is known there alone: it would
        end so again, but elsewhere that says nothing.
        """
        known, early = finished_runs(runs), finished_runs(self.folder.path, early=True)
        found: dict[str, RunFolder] = {}
        for one in self.planned:
            whole = sorted(known.get(one.fingerprint, ()), key=self._elsewhere)
            there = [*whole, *early.get(one.fingerprint, ())]
            same = [folder for folder in there if self._same_images(one, folder)]
            if same:
                found[one.fingerprint] = same[0]
            elif there:
                self.notes.append(f"{there[0].path} is not taken: the images are others today")
        return found

    def _elsewhere(self, folder: RunFolder) -> bool:
        return not folder.path.is_relative_to(self.folder.path)

    def _same_images(self, one: Planned, folder: RunFolder) -> bool:
        """Whether a run saw the images that its recipe's source has today.

        Also where that source can't be opened: then nothing speaks against it.
        """
        data = one.recipe.data
        if data not in self._images:
            self._images[data] = self._fingerprint(data)
        fingerprint = self._images[data]
        return fingerprint is None or folder.has_same_data(fingerprint)

    def _fingerprint(self, data: Data) -> str | None:
        try:
            return open_dataset(data.source, label_mode=data.label_mode, images=data.images).fingerprint
        except CifarlabError as error:
            self.notes.append(f"finished runs are taken unseen, since {error.what}")
            return None

    def to_train(self, command: str, resume: bool) -> list[Job]:
        """The wanted runs that are neither finished nor known to diverge.

        Raises RunFolderError where one was begun and ``resume`` is not given.
        """
        jobs: dict[str, Job] = {}
        for one in self.planned:
            if not one.wanted or one.fingerprint in self.finished:
                continue
            begun = self._begun(one)
            failure = self.failures.get(one.fingerprint)
            if begun and failure and failure.kind == "DivergenceError":
                continue
            if begun and not failure and not resume:
                raise RunFolderError(
                    f"{begun.path} was begun and is not finished",
                    f"go on with: {command} --resume",
                )
            self.failures.pop(one.fingerprint, None)
            path = (begun or new_folder(one.recipe, self.folder.path)).path
            jobs.setdefault(one.fingerprint, Job(one.row, one.recipe, str(path), command))
        return list(jobs.values())

    def ended(self, job: Job, failure: Failure | None) -> None:
        """Note how a run ended."""
        key = fingerprint(job.recipe)
        if failure:
            self.failures[key] = failure
        else:
            self.finished[key] = RunFolder(job.path)
        self.write()

    @property
    def failed(self) -> int:
        """How many of the planned runs have failed."""
        return sum(self._state(one) == "failed" for one in self.planned)

    def compared(self) -> Comparison:
        """Compare all runs that are there.

        Raises UserError where there is none, FailedRunsError where that is because runs failed.
        """
        folders = [folder.path for folder in self.finished.values()]
        runs, warnings = read_finished(folders)
        read = dict(zip(self.finished, runs, strict=True))
        outcomes = [self._outcome(one, read) for one in self.planned]
        rows = [row.name for row in self.study.rows]
        try:
            found = compare(
                self.study.name,
                rows,
                self.study.reference,
                outcomes,
                self.study.reported,
                self.scale,
            )
        except UserError as error:
            if self.failed:
                raise FailedRunsError(error.what, error.hint) from error
            raise
        return found.with_notes(warnings)

    def _outcome(self, one: Planned, read: dict[str, Any]) -> Outcome:
        if one.fingerprint in read:
            return outcome(one.row, read[one.fingerprint])
        failure = self.failures.get(one.fingerprint)
        why = f"{failure.kind}: {failure.what}" if failure else "not trained yet"
        return Outcome(one.row, one.recipe.seed, one.fingerprint, failure=why)

    def write(self, comparison: Comparison | None = None) -> None:
        """Replace study.json. Raises StorageError."""
        self.folder.write(
            {
                "study": self.study.model_dump(mode="json"),
                "scale": self.scale,
                "runs": [self._entry(one) for one in self.planned],
                "comparison": as_json(comparison),
            }
        )

    def _state(self, one: Planned) -> str:
        if one.fingerprint in self.finished:
            return "finished"
        return "failed" if one.fingerprint in self.failures else "open"

    def _entry(self, one: Planned) -> dict[str, Any]:
        finished, failure = self.finished.get(one.fingerprint), self.failures.get(one.fingerprint)
        return {
            "row": one.row,
            "seed": one.recipe.seed,
            "fingerprint": one.fingerprint,
            "state": self._state(one),
            "run": self.folder.relative(finished.path) if finished else None,
            "failure": failure and failure._asdict(),
        }

    def _begun(self, one: Planned) -> RunFolder | None:
        """The unfinished run of that recipe and of today's images in the study's folder."""
        try:
            begun = latest_folder(one.recipe, finished=False, runs=self.folder.path)
        except RunFolderError:
            return None
        return begun if self._same_images(one, begun) else None
