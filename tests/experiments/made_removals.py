"""Deleting made runs: what tests of it share."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from made_run import Plan, make

from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.claims import Claim
from cifarlab.experiments.judge.engine import RaceFolder
from cifarlab.experiments.removal import RemovalOptions, find_entries, remove_runs
from cifarlab.experiments.removal_table import Deletion, RemovalTable
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder.contents import parse_parts
from cifarlab.run_folder.index import RunIndex
from cifarlab.run_folder.openings import count_openings, find_runs
from cifarlab.run_folder.removals import find_removals

DATA = "CIFAR-10-4f5e"
WEIGHTS = ("last", "last.state", "best", "best.state")


def add_parts(run: Path) -> Path:
    """Add what a training and further commands leave beside the made files."""
    (run / "checkpoints").mkdir()
    for name in WEIGHTS:
        (run / "checkpoints" / f"{name}.safetensors").write_bytes(b"w" * 1000)
    for name in ("report/figures/curves.svg", "explained/maps.svg", "audit/folds/0/recipe.yaml"):
        (run / name).parent.mkdir(parents=True)
        (run / name).write_text("x" * 10)
    (run / "tensor_stats.jsonl").write_text("{}\n")
    (run / "note.txt").write_text("mine")
    return run


def call(
    root: Path,
    *names: str,
    keep: str | None = None,
    meanwhile: Callable[[RemovalTable], None] = lambda _: None,
    dry_run: bool = False,
    **flags: bool,
) -> RemovalTable:
    """Call ``remove_runs``; ``meanwhile`` happens between plan and deletion."""
    runs_index = RunIndex(root)
    entries = find_entries(runs_index, [root / name for name in names])
    options = RemovalOptions(keep if keep is None else parse_parts(keep), **flags)
    return remove_runs(runs_index, entries, options, dry_run=dry_run, confirm=meanwhile)


def plan(root: Path, *names: str, keep: str | None = None) -> list[Deletion]:
    return call(root, *names, keep=keep, dry_run=True).plans


def remove(root: Path, *names: str, **options: Any) -> None:
    call(root, *names, **options).require_complete()


def count(root: Path) -> Counter[str]:
    return count_openings(find_runs(root), DATA, removals=find_removals(root))


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def make_race(root: Path) -> Claim:
    prints = {"candidate_fingerprint": "c", "incumbent_fingerprint": "i"}
    question = {"goal": "accuracy", "margin": 0.2, "most": 10, **prints}
    names = {"candidate": "new", "incumbent": "old"}
    text = to_yaml(find("quickstart"))
    facts = {"command": "cifarlab judge", "recipes": dict.fromkeys(names, text), **names}
    claim = RecordBook(root).begin(Claim, "new", question, facts, resume=False, log=print)
    RaceFolder(root / claim.folder).write({"name": claim.name, "threads": 1})
    for side, lr in (("incumbent", 0.1), ("candidate", 0.2)):
        path = root / claim.folder / f"{side}-s{claim.first_seed}"
        changes = (("optimizer.lr", lr),)
        add_parts(make(path, Plan(n=200, seed=claim.first_seed, changes=changes)))
    return claim
