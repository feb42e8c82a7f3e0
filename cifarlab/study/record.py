"""What is known of each run of a study, kept in study.json as it changes."""

from pathlib import Path
from typing import Any, NamedTuple

from cifarlab.errors import RunFolderError
from cifarlab.recipe import Recipe, fingerprint
from cifarlab.run import RunFolder
from cifarlab.run.naming import finished_runs, latest_folder, new_folder
from cifarlab.study.comparison import Comparison, Outcome, compare
from cifarlab.study.definition import Study
from cifarlab.study.folder import StudyFolder
from cifarlab.study.outcomes import outcome, read_finished
from cifarlab.study.table import as_json
from cifarlab.study.workers import Failure, Job


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
        known = finished_runs(runs) | finished_runs(folder.path)  # best in the study's own folder
        self.finished = {
            one.fingerprint: known[one.fingerprint] for one in planned if one.fingerprint in known
        }
        told = folder.content().get("runs", [])
        self.failures = {
            run.get("fingerprint", ""): Failure(f["kind"], f["what"], f.get("hint", ""))
            for run in told
            if (f := run.get("failure"))
        }

    def to_train(self, command: str, resume: bool) -> list[Job]:
        """The wanted runs that are neither finished nor known to diverge.

        Raises RunFolderError where one was begun and ``resume`` is not given.
        """
        jobs: dict[str, Job] = {}
        for one in self.planned:
            if not one.wanted or one.fingerprint in self.finished:
                continue
            begun = self._begun(one.recipe)
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

    def compared(self) -> Comparison:
        """Compare all runs that are there. Raises UserError for none."""
        folders = [folder.path for folder in self.finished.values()]
        runs, warnings = read_finished(folders)
        read = dict(zip(self.finished, runs, strict=True))
        outcomes = [self._outcome(one, read) for one in self.planned]
        rows = [row.name for row in self.study.rows]
        found = compare(
            self.study.name, rows, self.study.reference, outcomes, self.study.reported, self.scale
        )
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

    def _entry(self, one: Planned) -> dict[str, Any]:
        finished, failure = self.finished.get(one.fingerprint), self.failures.get(one.fingerprint)
        return {
            "row": one.row,
            "seed": one.recipe.seed,
            "fingerprint": one.fingerprint,
            "state": "finished" if finished else "failed" if failure else "open",
            "run": self.folder.relative(finished.path) if finished else None,
            "failure": failure and failure._asdict(),
        }

    def _begun(self, recipe: Recipe) -> RunFolder | None:
        """The unfinished run of that recipe in the study's folder."""
        try:
            return latest_folder(recipe, finished=False, runs=self.folder.path)
        except RunFolderError:
            return None
