"""What is deleted of runs, and what is lost with it, as a table, sentences and JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cifarlab.run_folder.contents import RunFile, sizes_by_part
from cifarlab.run_folder.index import Entry
from cifarlab.system.errors import CifarlabError, UserError
from cifarlab.system.formatting import memory, plain_spaces

if TYPE_CHECKING:
    import pandas as pd


class Deletion(NamedTuple):
    """What is deleted of one run, and what is lost with it.

    ``resume`` says what can't be gone on with, ``uses`` what can't be done any more with the run,
    ``verdicts`` which studies and searches can't be computed again, ``evidence`` for which record
    the rest is kept. ``n_openings`` are those of the test split; None where they can't be read.
    """

    run: Entry
    path: Path
    files: list[RunFile]
    is_whole: bool
    resume: str
    uses: list[str]
    verdicts: list[str]
    evidence: str
    n_openings: int | None

    @property
    def bytes_by_part(self) -> dict[str, int]:
        """Return the bytes of each part that is deleted."""
        return sizes_by_part(self.files)

    @property
    def n_bytes(self) -> int:
        """Return how many bytes the disk has more afterwards."""
        return sum(file.n_bytes for file in self.files)


class RemovalTable:
    """What is, or would be, deleted of each run, and what is lost with it.

    ``refusals`` say why runs that were to be deleted are still there.
    """

    def __init__(self, plans: Sequence[Deletion], *, is_dry: bool) -> None:
        self.plans, self.is_dry = [*plans], is_dry
        self.refusals: list[CifarlabError] = []

    @property
    def n_bytes(self) -> int:
        """Return how many bytes the disk has more afterwards."""
        return sum(plan.n_bytes for plan in self.plans)

    def require_complete(self) -> None:
        """Return where nothing was refused.

        Raises:
            UserError: several runs that were to be deleted are still there
            CifarlabError: one is, for this reason
        """
        if len(self.refusals) == 1:
            raise self.refusals[0]
        if self.refusals:
            first = self.refusals[0]
            what = f"{len(self.refusals):,} runs were not deleted; the first: {first.what}"
            raise UserError(what, first.hint)

    def cells(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
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
            for plan in self.plans
        ]
        return headers, cells

    def to_json(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        runs = [
            {
                "run": plan.run.url_path,
                "is_whole": plan.is_whole,
                "bytes": plan.n_bytes,
                "parts": plan.bytes_by_part,
                "resume": plan.resume,
                "uses": plan.uses,
                "verdicts": plan.verdicts,
                "evidence": plan.evidence,
                "openings": plan.n_openings,
                "links": {str(file.path): file.target for file in plan.files if file.target},
            }
            for plan in self.plans
        ]
        refusals = [error.what for error in self.refusals]
        return {"dry_run": self.is_dry, "runs": runs, "refusals": refusals}

    def describe(self) -> list[str]:
        """Return the sum of all deletions in sentences, and what was refused."""
        verb = "would be deleted" if self.is_dry else "are deleted"
        n_runs = f"{len(self.plans):,} run{'' if len(self.plans) == 1 else 's'}"
        lines = [f"{n_runs}: {plain_spaces(memory(self.n_bytes))} {verb}"]
        resumes = [plan for plan in self.plans if plan.resume and not plan.run.is_finished]
        losses = [
            ("resumes of unfinished runs", len(resumes)),
            ("predictions of runs", sum("predictions" in p.bytes_by_part for p in self.plans)),
            ("runs that verdicts stand on", sum(bool(plan.verdicts) for plan in self.plans)),
        ]
        if any(n for _, n in losses):
            lines.append("lost: " + ", ".join(f"{what} ({n:,})" for what, n in losses if n))
        openings = [plan.n_openings for plan in self.plans if plan.is_whole]
        if n := sum(filter(None, openings)):
            text = "1 opening" if n == 1 else f"{n:,} openings"
            lines.append(f"{text} of the test split stay{'s' * (n == 1)} counted")
        if n := openings.count(None):
            lines.append(f"provenance that can't be read ({n:,}): its openings are forgotten")
        if links := [file.target for plan in self.plans for file in plan.files if file.target]:
            lines.append(f"links ({len(links):,}): what they lead to stays, as {links[0]}")
        return lines + [f"not deleted: {error.what}" for error in self.refusals]

    @property
    def frame(self) -> "pd.DataFrame":
        """Return a row for each run, as the command line prints it."""
        import pandas as pd

        headers, cells = self.cells()
        return pd.DataFrame(cells, columns=list(headers))

    def __repr__(self) -> str:
        return "\n".join(self.describe())

    def _repr_html_(self) -> str:
        return str(self.frame.to_html())
