"""The audit of a run and of a recipe: folds that never saw what they judge, findings, refusals."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cifarlab.audit.duplicates import Twins
from cifarlab.audit.findings import duplicate_findings
from cifarlab.audit.folds import fold_recipe
from cifarlab.audit.run_audit import audit
from cifarlab.data.dataset import Subset
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import held_out_fold, training_subsets
from cifarlab.experiments.placement import Placement
from cifarlab.inference.predictor import Predictor
from cifarlab.recipes.text import to_yaml
from cifarlab.run_folder.audit_findings import Audit
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import DataError, FailedRunsError, Interrupted, RunFolderError


@pytest.fixture(scope="module")
def recipe_file(tiny, tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "noisy.yaml"
    changes = {
        "training.duration": "6 epochs",
        "data.label_noise.kind": "symmetric",
        "data.label_noise.noise_rate": 0.1,
    }
    file.write_text(to_yaml(tiny(changes)))
    return file


@pytest.fixture(scope="module")
def finished_audit(recipe_file, tmp_path_factory) -> Audit:
    return audit(str(recipe_file), folds=2, out=tmp_path_factory.mktemp("audit"))


def test_every_image_is_judged_by_the_network_that_never_saw_it(
    tiny, finished_audit, recipe_file
) -> None:
    from cifarlab.recipes.text import from_yaml

    recipe = from_yaml(recipe_file)
    dataset = open_dataset("digits")
    training, _ = training_subsets(dataset, recipe.data)
    held_out_indices = []
    for number in (0, 1):
        folder = RunFolder(finished_audit.path / "folds" / str(number))
        recipe_of_fold = folder.recipe()
        assert recipe_of_fold == fold_recipe(recipe, 2, number, recipe_of_fold.data.fold.groups)
        assert "test" not in folder.result() and folder.provenance()["test_openings"] == []
        trained, _ = training_subsets(dataset, recipe_of_fold.data)
        held_out = held_out_fold(dataset, recipe_of_fold.data)
        assert not set(trained.indices) & set(held_out.indices)
        assert sorted([*trained.indices, *held_out.indices]) == training.indices.tolist()
        held_out_indices += held_out.indices.tolist()
    assert sorted(held_out_indices) == training.indices.tolist()


def test_a_suspect_is_what_its_fold_says(finished_audit, recipe_file) -> None:
    findings = finished_audit.findings()
    suspect = findings["labels"]["suspects"][0]
    dataset = open_dataset("digits")
    for number in (0, 1):
        folder = RunFolder(finished_audit.path / "folds" / str(number))
        held_out = held_out_fold(dataset, folder.recipe().data)
        if suspect["index"] not in held_out.indices:
            continue
        predictor = Predictor.load(folder.weights("last"))
        logits = predictor.logits(held_out.images, 1, held_out.indices).double()
        row = logits.softmax(1)[list(held_out.indices).index(suspect["index"])]
        assert int(row.argmax()) == suspect["predicted_label"]
        assert float(row.max()) == pytest.approx(suspect["probability"])
        assert held_out.labels[suspect["index"]] == suspect["given_label"]
        assert dataset.read("train").labels[suspect["index"]] == suspect["true_label"]


def test_the_findings_of_known_noise(finished_audit, recipe_file) -> None:
    findings = finished_audit.findings()["labels"]
    assert (findings["n"], findings["folds"]) == (1294, 2)
    noise = findings["noise"]
    n_wrong = RunFolder(finished_audit.path / "folds" / "0").provenance()["data"]["wrong_labels"]
    n_wrong += RunFolder(finished_audit.path / "folds" / "1").provenance()["data"]["wrong_labels"]
    assert noise["n_wrong"] == n_wrong and noise["chance"] == noise["n_wrong"] / 1294
    assert noise["precision"] > 2 * noise["chance"]
    assert len(findings["suspects"]) == 1000
    images = finished_audit.images()["suspects"]
    pixels = open_dataset("digits").read("train").images
    assert np.array_equal(images, pixels[[s["index"] for s in findings["suspects"][:25]]])


def test_the_same_command_again_trains_nothing(finished_audit, recipe_file, monkeypatch) -> None:
    before = finished_audit.findings()
    monkeypatch.setattr("cifarlab.experiments.placement.run_experiment", None)
    second = audit(str(recipe_file), folds=2, out=finished_audit.path).findings()
    assert {**second, "time": ""} == {**before, "time": ""}


def test_folds_in_processes_find_the_same(finished_audit, recipe_file, tmp_path) -> None:
    lines: list[str] = []
    placement = Placement(jobs=2)
    folder = audit(str(recipe_file), folds=2, out=tmp_path, placement=placement, log=lines.append)
    assert {**folder.findings(), "time": ""} == {**finished_audit.findings(), "time": ""}
    epochs = [f"fold {fold}: epoch {epoch}" for fold in (0, 1) for epoch in range(1, 7)]
    assert sorted(line for line in lines if "epoch" in line) == epochs
    assert lines[-1].endswith("is trained: 2 of 2 folds")


@pytest.mark.parametrize("jobs", [None, 1])
def test_without_a_fold_no_label_is_judged(recipe_file, tmp_path, jobs) -> None:
    settings = ["optimizer.lr=1e30", "schedule.warmup=0 epochs"]
    with pytest.raises(FailedRunsError, match=r"fold 0 failed: .*NaN"):
        audit(str(recipe_file), settings, folds=2, out=tmp_path, placement=Placement(jobs))
    assert not (tmp_path / "folds" / "1").exists() and not Audit(tmp_path).findings()


def test_an_interrupted_audit_goes_on_with_its_own_command(recipe_file, tmp_path) -> None:
    def interrupt(line: str) -> None:
        if line == "fold 0: epoch 2":
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after 0 of 2 folds") as caught:
        options = {"log": interrupt, "command": "cifarlab audit it"}
        audit(str(recipe_file), folds=2, out=tmp_path, **options)
    assert caught.value.hint == "go on with: cifarlab audit it"


def test_other_settings_in_the_same_folder_are_refused(finished_audit, recipe_file) -> None:
    with pytest.raises(RunFolderError, match="other settings"):
        audit(str(recipe_file), ["seed=5"], folds=2, out=finished_audit.path)


@pytest.mark.parametrize("change", ["images", "names"])
def test_folds_of_other_images_are_refused(tiny, tmp_path, change) -> None:
    """Networks of other images once judged the labels: 85 % of them were then called wrong."""
    for name, low in {"dark": 0, "light": 100}.items():
        (tmp_path / "shades" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.full((8, 8), low + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shades" / name / f"{number:02d}.png")
    file = tmp_path / "shades.yaml"
    changes = {"data.source": str(tmp_path / "shades"), "training.duration": "1 epoch"}
    file.write_text(to_yaml(tiny(changes)))
    first = audit(str(file), folds=2, out=tmp_path / "out").findings()
    if change == "images":
        (tmp_path / "shades" / "dark" / "07.png").unlink()
    else:
        (tmp_path / "shades" / "dark").rename(tmp_path / "shades" / "shadow")
    with pytest.raises(RunFolderError, match="the images are not those") as caught:
        audit(str(file), folds=2, out=tmp_path / "out")
    assert f"delete {tmp_path / 'out' / 'folds'}" in caught.value.hint
    assert Audit(tmp_path / "out").findings() == first


def test_a_finished_run_is_searched_with_its_test_split(copied: RunFolder) -> None:
    audit_folder = audit(str(copied.path), folds=0, test=True, command="me")
    assert audit_folder.path == copied.audit
    findings = audit_folder.findings()
    assert findings["labels"] is None
    assert findings["duplicates"]["images"] == {"train": 1294, "val": 144, "test": 359}
    opening = copied.provenance()["test_openings"][-1]
    assert (opening["opener"], opening["command"]) == ("audit", "me")
    assert len(findings["duplicates"]["twins"]) == 9


def test_an_audit_holds_its_folder_to_its_end(copied: RunFolder, monkeypatch) -> None:
    """Folds are trained in it, which nobody may delete meanwhile, nor another audit replace."""
    original = Audit.write

    def write(self, *args) -> None:
        for folds in (0, 2):
            with pytest.raises(RunFolderError, match="audit is in use"):
                audit(str(copied.path), folds=folds)
        original(self, *args)

    monkeypatch.setattr(Audit, "write", write)
    assert audit(str(copied.path), folds=0).findings()


def test_a_run_that_is_deleted_meanwhile_is_not_audited(copied: RunFolder, monkeypatch) -> None:
    def delete(*_) -> None:
        shutil.rmtree(copied.path)

    monkeypatch.setattr(RunFolder, "require_same_data", delete)
    with pytest.raises(RunFolderError, match="is no run folder"):
        audit(str(copied.path), folds=0)


def test_without_test_nothing_is_opened(copied: RunFolder) -> None:
    before = copied.provenance()
    findings = audit(str(copied.path), folds=0).findings()
    assert list(findings["duplicates"]["images"]) == ["train", "val"]
    assert copied.provenance() == before


@pytest.mark.parametrize("folds", [1, -2])
def test_one_fold_is_none(finished: RunFolder, folds: int) -> None:
    with pytest.raises(DataError, match="folds"):
        audit(str(finished.path), folds=folds)


def test_the_test_split_of_a_recipe_is_opened_and_the_opening_kept(recipe_file, tmp_path) -> None:
    assert audit(str(recipe_file), folds=0, out=tmp_path).provenance() == {}
    for count in (1, 2):
        audit_folder = audit(str(recipe_file), folds=0, test=True, out=tmp_path, command="me")
        openings = audit_folder.provenance()["test_openings"]
        assert len(openings) == count
        assert (openings[-1]["opener"], openings[-1]["command"]) == ("audit", "me")
    assert audit_folder.findings()["duplicates"]["images"] == {
        "train": 1294,
        "val": 144,
        "test": 359,
    }


def test_an_unfinished_run_keeps_its_test_split_closed(copied: RunFolder) -> None:
    copied.result_file.unlink()
    with pytest.raises(RunFolderError, match="has not finished"):
        audit(str(copied.path), folds=0, test=True)


def test_a_runs_recipe_stays_as_it_is(finished: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="can't be changed"):
        audit(str(finished.path), ["seed=1"], folds=0)


def test_twins_between_splits_are_counted_by_images() -> None:
    blank = np.zeros((9, 8, 8, 1), np.uint8)
    labels = np.array([0, 0, 1, 0, 0, 0, 0, 0, 0])
    splits = {
        "train": Subset(blank, labels, np.array([0, 2, 4, 6])),
        "test": Subset(blank, labels, np.array([1, 3])),
    }
    # in the concatenation: train 0 2 4 6 are positions 0..3, test 1 3 are positions 4, 5
    twins = Twins(np.array([[0, 1], [1, 4], [2, 5]]), np.array([1.0, 0.99, 0.98]))
    findings, image_pairs = duplicate_findings(twins, splits)
    counts = {(row["split"], row["twin_split"]): row["images"] for row in findings["twins"]}
    assert counts == {
        ("train", "train"): 2,
        ("train", "test"): 3,
        ("test", "train"): 2,
        ("test", "test"): 0,
    }
    assert (findings["groups"], findings["n_equal"], findings["n_near"]) == (2, 1, 2)
    assert findings["conflicts"] == 1  # image 2 bears class 1
    # across splits first
    first = findings["pairs"][0]
    assert first["a"] == {"split": "train", "index": 2, "name": "index 2", "given_label": 1}
    assert first["b"] == {"split": "test", "index": 1, "name": "index 1", "given_label": 0}
    assert findings["pairs"][2]["a"]["index"] == 0 and findings["notes"] == []
    assert image_pairs.tolist() == [[1, 4], [2, 5], [0, 1]]


def test_a_damaged_audit_is_named(tmp_path: Path) -> None:
    audit_folder = Audit(tmp_path)
    assert audit_folder.findings() is None and audit_folder.images() == {}
    audit_folder.findings_file.write_text("{")
    audit_folder.images_file.write_bytes(b"no")
    for read in (audit_folder.findings, audit_folder.images):
        with pytest.raises(RunFolderError, match="can't read"):
            read()
