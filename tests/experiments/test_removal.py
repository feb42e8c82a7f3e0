"""Runs are deleted whole or in parts; what that costs is known before; two things outlive it."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from made_run import Plan, digits, make
from made_study import make_run

from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.claims import Claim
from cifarlab.experiments.judge.contestants import recorded_recipes
from cifarlab.experiments.judge.engine import RaceFolder
from cifarlab.experiments.removal import (
    Deletion,
    delete_runs,
    describe_removal,
    find_entries,
    plan_removal,
    removal_json,
    removal_table,
    require_no_verdicts,
)
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder import removals
from cifarlab.run_folder.contents import parse_parts
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import RunIndex
from cifarlab.run_folder.openings import count_openings, find_runs
from cifarlab.run_folder.removals import find_removals, record_removal
from cifarlab.system.errors import RunFolderError, UserError

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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A run, one in training, a study that also uses the run, a search."""
    root = tmp_path / "runs"
    add_parts(make(root / "plain", Plan(n=200)))
    make(root / "young", digits(finished=False))
    study = StudyFolder(root / "studies" / "made")
    make(study.path / "base-s0", Plan(n=200, seed=1))
    runs = [
        {"row": "base", "seed": 0, "run": "base-s0"},
        {"row": "other", "seed": 0, "run": "../../used"},
        {"row": "other", "seed": 1, "run": None},
    ]
    make(root / "used", Plan(n=200, changes=(("optimizer.lr", 0.7),)))
    study.write({"study": {"name": "made"}, "runs": runs})
    search = SearchFolder(root / "searches" / "wide")
    make(search.path / "trial-000", digits(n=100, test=False))
    search.write({"search": {"name": "wide"}})
    return root


def plan(root: Path, *names: str, keep: str | None = None) -> list[Deletion]:
    index = RunIndex(root)
    entries = find_entries(index, [root / name for name in names])
    return plan_removal(index, entries, keep if keep is None else parse_parts(keep))


def remove(root: Path, *names: str, keep: str | None = None, force: bool = False) -> None:
    delete_runs(RunIndex(root), plan(root, *names, keep=keep), force=force)


def count(root: Path) -> Counter[str]:
    return count_openings(find_runs(root), DATA, removals=find_removals(root))


def files(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}


def test_a_removed_run_is_gone_and_its_openings_stay_counted(root):
    before, others = count(root), files(root / "young")
    assert before.total() == 3 and len(before) == 2
    remove(root, "plain")
    assert not (root / "plain").exists() and files(root / "young") == others
    assert count(root) == before
    (line,) = (root / removals.FILE).read_text().splitlines()
    removed = json.loads(line)
    assert (removed["run"], removed["recipe"], removed["seed"]) == ("plain", "made/up", 0)
    assert removed["test_openings"][0]["opener"] == "train"


def test_a_run_that_opened_nothing_leaves_no_line(root):
    remove(root, "young")
    assert not (root / "young").exists() and not (root / removals.FILE).exists()


def test_an_opening_counts_once_where_a_kill_came_before_the_deletion(root):
    before = count(root)
    record_removal(root, RunFolder(root / "plain"))
    record_removal(root, RunFolder(root / "plain"))
    assert count(root) == before
    remove(root, "plain")
    assert count(root) == before


def test_a_later_run_in_that_folder_is_another(root):
    before = count(root).total()
    remove(root, "plain")
    folder = RunFolder(make(root / "plain", Plan(n=200)))
    provenance = folder.provenance()
    provenance["starts"][0]["time"] = "2027-01-01T00:00:00Z"
    folder.write_provenance(provenance)
    assert count(root).total() == before + 1


def test_lines_at_any_depth_are_counted_wherever_the_folder_lies(root, tmp_path):
    before = count(root)
    remove(root / "studies", "made/base-s0", force=True)
    assert (root / "studies" / removals.FILE).exists()
    assert count(root) == before
    moved = root.rename(tmp_path / "moved")
    assert count(moved) == before


def test_a_damaged_file_of_openings_is_an_error(root):
    (root / removals.FILE).write_text('{"run": 3}\n')
    with pytest.raises(RunFolderError, match=r"removed-openings\.jsonl, line 1") as caught:
        count(root)
    assert "only record" in caught.value.hint


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("weights", {"checkpoints/last.safetensors", "checkpoints/best.safetensors"}),
        ("checkpoints", {f"checkpoints/{name}.safetensors" for name in WEIGHTS}),
        ("predictions", {"predictions/val.safetensors", "predictions/test.safetensors"}),
        ("figures,tensor-stats", {"report/figures/curves.svg", "explained/maps.svg"}),
        ("audit, results", {"audit/folds/0/recipe.yaml"}),
        ("results", set()),
    ],
)
def test_parts_are_deleted_but_for_those_that_are_kept(root, keep, kept):
    before = files(root / "plain")
    results = {
        *("format.json", "recipe.yaml", "provenance.json", "metrics.jsonl", "result.json"),
        "note.txt",
    }
    assert results | kept < before
    (deletion,) = plan(root, "plain", keep=keep)
    size = sum((root / "plain" / name).stat().st_size for name in before)
    remove(root, "plain", keep=keep)
    left = files(root / "plain") - {".lock"}
    assert left - {"tensor_stats.jsonl"} == results | kept
    assert deletion.n_bytes == size - sum((root / "plain" / n).stat().st_size for n in left)
    folders = {path.name for path in (root / "plain").iterdir() if path.is_dir()}
    assert folders == {name.split("/")[0] for name in kept}
    assert RunIndex(root).listing().runs[0].is_finished
    assert plan(root, "plain", keep=keep) == []


def test_what_a_deletion_costs(root):
    (weights,) = plan(root, "plain", keep="weights")
    assert weights.resume == "train longer" and weights.verdicts == []
    assert weights.uses == ["compare --by image", "histograms", "an audit's findings"]
    (results,) = plan(root, "plain", keep="results")
    assert "predict, evaluate, explain" in results.uses
    young, used, trial = plan(root, "young", "used", "searches")
    assert young.resume == ""  # it has no checkpoint
    assert used.verdicts == ["study made (other, seed 0)"]
    assert trial.verdicts == ["search wide (trial-000)"]
    (used,) = plan(root, "used", keep="results")
    assert used.verdicts == [] and "study made (other, seed 0) image by image" in used.uses


def test_an_unfinished_run_with_a_checkpoint_can_not_go_on(root):
    (root / "young" / "checkpoints").mkdir()
    (root / "young" / "checkpoints" / "last.state.safetensors").write_bytes(b"w")
    (young,) = plan(root, "young", keep="weights")
    assert young.resume == "resume after 6 epochs"
    text = "\n".join(describe_removal([young], is_dry=True))
    assert text.startswith("1 run: 0 MiB would be deleted") and "unfinished runs (1)" in text


def test_runs_that_verdicts_stand_on_are_refused(root):
    require_no_verdicts(plan(root, "plain", "young"))
    require_no_verdicts(plan(root, "used", keep="results"))
    with pytest.raises(UserError, match=r"used is a run of study made \(other, seed 0\)"):
        require_no_verdicts(plan(root, "plain", "used"))


def test_the_sum_says_what_is_lost_and_what_stays(root):
    plans = plan(root, "plain", "used")
    lines = describe_removal(plans, is_dry=False)
    assert lines[0].startswith("2 runs: ") and lines[0].endswith("are deleted")
    assert lines[1] == "lost: predictions of runs (2), runs that verdicts stand on (1)"
    assert lines[2] == "2 openings of the test split stay counted"
    _, cells = removal_table(plans)
    assert [row[:2] for row in cells] == [("plain", "the run"), ("used", "the run")]
    first = removal_json(plans)[0]
    assert first["bytes"] == sum(first["parts"].values()) == plans[0].n_bytes
    json.dumps(first)


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


@pytest.mark.parametrize("keep", [None, "weights", "results"])
def test_the_evidence_of_a_record_outlives_its_runs(root, keep):
    claim = make_race(root)
    before = count(root)
    recipes = recorded_recipes(claim, root)
    plans = plan(root, "judge", keep=keep)
    require_no_verdicts(plans)
    assert [p.evidence for p in plans] == [claim.name] * 2 and not any(p.is_whole for p in plans)
    delete_runs(RunIndex(root), plans)
    assert recorded_recipes(claim, root) == recipes
    assert count(root) == before
    candidate = root / claim.folder / f"candidate-s{claim.first_seed}"
    assert {"result.json", "provenance.json", "predictions/test.safetensors"} < files(candidate)
    weights = {f"checkpoints/{name}.safetensors" for name in ("last", "best")}
    assert files(candidate) & weights == (weights if keep == "weights" else set())
    assert plan(root, "judge", keep=keep) == []


def test_a_run_in_use_is_refused_and_stays_whole(root):
    before = files(root / "plain")
    plans = plan(root, "plain")
    with RunFolder(root / "plain").lock(), pytest.raises(RunFolderError, match="in use"):
        delete_runs(RunIndex(root), plans)
    assert files(root / "plain") - {".lock"} == before
    assert not (root / removals.FILE).exists()


def test_a_run_whose_openings_can_not_be_read_is_refused(root):
    (root / "plain" / "provenance.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"can't read .*provenance\.json") as caught:
        remove(root, "plain")
    assert "--force" in caught.value.hint and (root / "plain" / "recipe.yaml").exists()
    remove(root, "plain", force=True)
    assert not (root / "plain").exists()


def test_what_is_deleted_last_says_what_it_was(root, monkeypatch):
    """A kill leaves a run that can be read, or no run."""
    (deletion,) = plan(root, "plain")
    names = [file.path.name for file in deletion.files]
    assert names[-1] == "recipe.yaml"
    results = {"result.json", "provenance.json", "metrics.jsonl", "format.json", "note.txt"}
    assert {*names[-6:-1]} == results


def test_only_runs_in_the_folder_are_deleted(root, tmp_path):
    make_run(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="elsewhere is not in"):
        plan(root, "../elsewhere")
    with pytest.raises(UserError, match="plain is not in"):  # but is that itself
        plan(root / "plain", "")
    (root / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(RunFolderError, match="there is no run in"):
            plan(root, name)
    with pytest.raises(UserError, match="no part 'weight'"):
        plan(root, "plain", keep="weight")


def test_a_folder_stands_for_its_runs_and_its_own_files_stay(root):
    remove(root, "studies", force=True)
    assert files(root / "studies") == {"made/study.json"}
    assert (root / "used").exists()


def test_a_damaged_study_is_no_obstacle(root):
    (root / "studies" / "made" / "study.json").write_text("{")
    (used,) = plan(root, "used")
    assert used.verdicts == []
    shutil.rmtree(root / "studies")
    remove(root, "used")
