"""Runs are deleted whole or in parts; what that costs is known before; two things outlive it."""

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from made_run import Plan, digits, make
from made_study import make_run

from cifarlab.experiments.judge.book import RecordBook
from cifarlab.experiments.judge.claims import Claim
from cifarlab.experiments.judge.contestants import recorded_recipes
from cifarlab.experiments.judge.engine import RaceFolder
from cifarlab.experiments.removal import RemovalOptions, find_entries, remove_runs
from cifarlab.experiments.removal_table import Deletion, RemovalTable
from cifarlab.experiments.search.folder import SearchFolder
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder import index, removals
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
    record_removal(RunFolder(root / "plain"))
    record_removal(RunFolder(root / "plain"))
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
    assert (root / removals.FILE).exists()  # wherever --folder points
    assert count(root) == before
    assert count(root / "studies").total() == 1 and not count(root / "searches")
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
    assert used.verdicts == ["study made (other, seed 0) image by image"]
    add_parts(root / "used")
    (used,) = plan(root, "used", keep="predictions")
    assert used.resume and used.verdicts == []


def test_an_unfinished_run_with_a_checkpoint_can_not_go_on(root):
    (root / "young" / "checkpoints").mkdir()
    (root / "young" / "checkpoints" / "last.state.safetensors").write_bytes(b"w")
    table = call(root, "young", keep="weights", dry_run=True)
    assert table.plans[0].resume == "resume after 6 epochs"
    text = repr(table)
    assert text.startswith("1 run: 0 MiB would be deleted") and "unfinished runs (1)" in text


def test_runs_that_verdicts_stand_on_are_refused(root):
    with pytest.raises(UserError, match=r"used is a run of study made \(other, seed 0\)"):
        remove(root, "plain", "used")
    assert (root / "plain").exists()  # nothing is deleted where it is known before
    remove(root, "plain", "young")
    remove(root, "used", keep="results")
    assert not (root / "used" / "predictions").exists()


def test_the_sum_says_what_is_lost_and_what_stays(root):
    plans = plan(root, "plain", "used")
    table = RemovalTable(plans, is_dry=False)
    lines = table.describe()
    assert lines[0].startswith("2 runs: ") and lines[0].endswith("are deleted")
    assert lines[1] == "lost: predictions of runs (2), runs that verdicts stand on (1)"
    assert lines[2] == "2 openings of the test split stay counted"
    _, cells = table.cells()
    assert [row[:2] for row in cells] == [("plain", "the run"), ("used", "the run")]
    first = table.to_json()["runs"][0]
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
    assert [p.evidence for p in plans] == [claim.name] * 2 and not any(p.is_whole for p in plans)
    remove(root, "judge", keep=keep)
    assert recorded_recipes(claim, root) == recipes
    assert count(root) == before
    candidate = root / claim.folder / f"candidate-s{claim.first_seed}"
    assert {"result.json", "provenance.json", "predictions/test.safetensors"} < files(candidate)
    weights = {f"checkpoints/{name}.safetensors" for name in ("last", "best")}
    assert files(candidate) & weights == (weights if keep == "weights" else set())
    assert plan(root, "judge", keep=keep) == []


def test_a_run_in_use_is_refused_and_stays_whole(root):
    before = files(root / "plain")
    with RunFolder(root / "plain").lock(), pytest.raises(RunFolderError, match="in use") as caught:
        remove(root, "plain")
    assert "--run" not in caught.value.hint
    assert files(root / "plain") - {".lock"} == before
    assert not (root / removals.FILE).exists()


def test_a_run_whose_openings_can_not_be_read_is_refused(root):
    (root / "plain" / "provenance.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"plain/provenance\.json can't be read") as caught:
        remove(root, "plain", force=True)
    assert "--forget-openings" in caught.value.hint and (root / "plain" / "recipe.yaml").exists()
    table = call(root, "plain", forget_openings=True)
    assert not (root / "plain").exists()
    assert "its openings are forgotten" in repr(table) and "stay counted" not in repr(table)


@pytest.mark.parametrize("text", ["name: x", None])
def test_openings_of_a_run_without_its_recipe_stay_counted(root, text):
    before = count(root)
    recipe = root / "plain" / "recipe.yaml"
    recipe.unlink() if text is None else recipe.write_text(text)
    remove(root, "plain", force=True)  # which has nothing to do with openings
    assert not (root / "plain").exists()
    assert count(root).total() == before.total()
    assert count(root) - before == {str(root / "plain"): 1}  # of a recipe that is not known


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
    with pytest.raises(UserError, match="plain is a run itself"):
        plan(root / "plain", "")
    with pytest.raises(UserError, match="0 is in the run"):
        plan(root, "plain/audit/folds/0")
    (root / "empty").mkdir()
    for name in ("empty", "nowhere"):
        with pytest.raises(RunFolderError, match="there is no run in"):
            plan(root, name)
    with pytest.raises(UserError, match="no part 'weight'"):
        plan(root, "plain", keep="weight")


def test_a_folder_stands_for_its_runs_and_its_own_files_stay(root):
    remove(root, "studies", force=True)
    assert files(root / "studies") - {"made/.lock"} == {"made/study.json"}
    assert (root / "used").exists()


@pytest.mark.parametrize("text", ["{", '{"format": 99}'])
def test_a_study_that_can_not_be_read_may_stand_on_all_runs_around_it(root, text):
    make(root / "searches" / "wide" / "trial-001", digits(n=100, test=False))
    (root / "studies" / "made" / "study.json").write_text(text)
    for name in ("used", "plain", "studies"):
        with pytest.raises(UserError, match=r"study made .*can't be read"):
            remove(root, name)
    shutil.rmtree(root / "studies")
    remove(root, "used")


@pytest.mark.parametrize("folder", ["", "exp", "exp/deep"])
def test_what_is_protected_does_not_depend_on_the_folder(tmp_path, monkeypatch, folder):
    """A study uses a run far from it; the index would not even see the study."""
    monkeypatch.setattr(index, "MAX_FOLDERS", 1)
    make(tmp_path / "exp" / "deep" / "used", Plan(n=200))
    runs = [{"row": "other", "seed": 0, "run": "../../exp/deep/used"}]
    StudyFolder(tmp_path / "studies" / "s").write({"study": {"name": "s"}, "runs": runs})
    name = (tmp_path / "exp" / "deep" / "used").relative_to(tmp_path / folder).as_posix()
    (deletion,) = plan(tmp_path / folder, name)
    assert deletion.verdicts == ["study s (other, seed 0)"]


def test_a_folder_with_more_than_is_looked_at_is_refused(root, monkeypatch):
    monkeypatch.setattr(index, "MAX_FOLDERS", 1)
    with pytest.raises(RunFolderError, match="only its first 1 folders"):
        plan(root, "searches")


def test_a_race_keeps_its_evidence_from_whatever_folder(root):
    claim = make_race(root)
    race = root / claim.folder
    remove(race, f"candidate-s{claim.first_seed}")
    assert (race / f"candidate-s{claim.first_seed}" / "predictions" / "test.safetensors").exists()
    assert (race / f"candidate-s{claim.first_seed}" / "result.json").exists()


def test_links_are_not_followed(root, tmp_path):
    (root / "link").symlink_to(root / "plain")
    (root / "more").symlink_to(root / "studies")
    for name, target in (("link", "plain"), ("more/made/base-s0", "studies")):
        with pytest.raises(UserError, match=f"is a link to .*{target}"):
            plan(root, name)
    (tmp_path / "linked root").symlink_to(root)
    assert len(plan(tmp_path / "linked root", "plain")) == 1


def test_a_linked_folder_in_a_run_is_deleted_and_its_target_stays(root, tmp_path):
    elsewhere = (root / "plain" / "checkpoints").rename(tmp_path / "elsewhere")
    (root / "plain" / "checkpoints").symlink_to(elsewhere)
    assert "weights" in plan(root, "plain", keep="results")[0].bytes_by_part
    remove(root, "plain", keep="weights")
    assert (root / "plain" / "checkpoints").is_symlink()
    table = call(root, "plain")
    assert f"what they lead to stays, as {elsewhere}" in repr(table)
    assert not (root / "plain").exists() and len(files(elsewhere)) == len(WEIGHTS)


def extend_and_cut_off(root: Path) -> None:
    (root / "plain" / "result.json").unlink()
    (root / "plain" / "checkpoints" / "new.safetensors").write_bytes(b"w")


def open_again(root: Path) -> None:
    folder = RunFolder(root / "plain")
    provenance = folder.provenance()
    openings = [*provenance["test_openings"], {"time": "2027", "opener": "evaluate"}]
    folder.write_provenance({**provenance, "test_openings": openings})


def plan_a_study(root: Path) -> None:
    runs = [{"row": "new", "seed": 0, "run": "../../plain"}]
    StudyFolder(root / "studies" / "late").write({"study": {"name": "late"}, "runs": runs})


def delete_elsewhere(root: Path) -> None:
    shutil.rmtree(root / "plain")


@pytest.mark.parametrize("keep", [None, "results"])
@pytest.mark.parametrize(
    "change",
    [extend_and_cut_off, open_again, plan_a_study, delete_elsewhere],
    ids=lambda f: f.__name__,
)
def test_a_run_that_changed_since_the_plan_stays(root, keep, change):
    left: set[str] = set()

    def meanwhile(_: RemovalTable) -> None:
        change(root)
        left.update(files(root))

    table = call(root, "plain", "used", keep=keep, meanwhile=meanwhile, force=True)
    with pytest.raises(RunFolderError, match="plain has changed since"):
        table.require_complete()
    assert {name for name in left if name.startswith("plain/")} <= files(root)
    assert not (root / "used" / "predictions").exists()  # its turn came after
    assert (root / "plain").exists() == (change is not delete_elsewhere)


HOLD = """
import sys; from pathlib import Path; from cifarlab.system.files import lock_folder
with lock_folder(Path(sys.argv[1]), None): print("held", flush=True); sys.stdin.read()
"""


@contextmanager
def held_elsewhere(folder: Path) -> Iterator[None]:
    """Another process holds the folder: a training, an audit, a study."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout and process.stdout.readline() == b"held\n"
        yield
        process.communicate()


@pytest.mark.parametrize(
    ("name", "busy"),
    [
        ("plain", "plain"),
        ("plain", "plain/audit"),
        ("plain", "plain/audit/folds/0"),
        ("used", "studies/made"),
        ("studies/made/base-s0", "studies/made"),
        ("searches/wide/trial-000", "searches/wide"),
    ],
)
def test_nothing_is_deleted_of_a_run_that_another_process_needs(root, name, busy):
    add_parts(root / name) if name != "plain" else None
    for keep in (None, "weights"):
        with held_elsewhere(root / busy):
            before = files(root / name)
            with pytest.raises(RunFolderError, match=f"{busy}.* in use by another process"):
                remove(root, name, keep=keep, force=True)
            assert before <= files(root / name) and not (root / removals.FILE).exists()
    with held_elsewhere(root / "plain" / "audit"):
        remove(root, "plain", keep="audit")
    remove(root, name, force=True)
    assert not (root / name).exists()


def test_what_a_race_in_use_keeps_beside_its_evidence_stays(root):
    race = root / make_race(root).folder
    with held_elsewhere(race), pytest.raises(UserError, match="2 runs were not deleted; the first"):
        remove(root, "judge")
    assert len(list(race.glob("*/checkpoints/*"))) == 2 * len(WEIGHTS)


def test_a_refusal_in_the_middle_leaves_one_run(root):
    with held_elsewhere(root / "used"):
        table = call(root, "plain", "used", "young", force=True)
    assert [plan.run.url_path for plan in table.plans] == ["plain", "young"]
    assert table.describe()[0].startswith("2 runs: ")
    assert table.describe()[-1].startswith("not deleted: ") and "used" in table.describe()[-1]
    assert table.to_json()["refused"] == [table.refusals[0].what]
    assert not (root / "young").exists() and (root / "used" / "recipe.yaml").exists()
