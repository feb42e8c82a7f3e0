"""What is not deleted: what is in use, has changed, or is needed, from whatever folder."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from made_removals import WEIGHTS, add_parts, call, files, make_race, plan, remove
from made_run import Plan, digits, make
from made_study import make_run

from cifarlab.experiments.removal_table import RemovalTable
from cifarlab.experiments.study.folder import StudyFolder
from cifarlab.run_folder import index, removals
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError, UserError


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
    assert table.to_json()["refusals"] == [table.refusals[0].what]
    assert not (root / "young").exists() and (root / "used" / "recipe.yaml").exists()
