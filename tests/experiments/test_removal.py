"""Runs are deleted whole or in parts; what that costs is known before; two things outlive it."""

import json

import pytest
from made_removals import WEIGHTS, add_parts, call, count, files, make_race, plan, remove
from made_run import Plan, make

from cifarlab.experiments.judge.contestants import recorded_recipes
from cifarlab.experiments.removal_table import RemovalTable
from cifarlab.run_folder import removals
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.index import RunIndex
from cifarlab.run_folder.removals import record_removal
from cifarlab.system.errors import RunFolderError, UserError


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


def test_a_folder_stands_for_its_runs_and_its_own_files_stay(root):
    remove(root, "studies", force=True)
    assert files(root / "studies") - {"made/.lock"} == {"made/study.json"}
    assert (root / "used").exists()


def test_a_linked_folder_in_a_run_is_deleted_and_its_target_stays(root, tmp_path):
    elsewhere = (root / "plain" / "checkpoints").rename(tmp_path / "elsewhere")
    (root / "plain" / "checkpoints").symlink_to(elsewhere)
    assert "weights" in plan(root, "plain", keep="results")[0].bytes_by_part
    remove(root, "plain", keep="weights")
    assert (root / "plain" / "checkpoints").is_symlink()
    table = call(root, "plain")
    assert f"what they lead to stays, as {elsewhere}" in repr(table)
    assert not (root / "plain").exists() and len(files(elsewhere)) == len(WEIGHTS)
