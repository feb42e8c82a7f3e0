"""An audit of image files with copies: who judges what, names, tables and notes."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cifarlab.audit import run_audit
from cifarlab.audit.findings import label_findings
from cifarlab.audit.folds import fold_groups
from cifarlab.audit.run_audit import audit
from cifarlab.data.dataset import Subset
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import held_out_fold
from cifarlab.run_folder.audit_findings import Audit
from cifarlab.run_folder.folder import RunFolder

PAIRS, SHORT = 45, 50
# few images, no augmentation, many steps: networks that know by heart what they were trained on
SETTINGS = [
    "data.val_fraction=0",
    "data.test_fraction=0.01",
    "augment.crop.padding=0",
    "optimizer.weight_decay=0",
    "training.batch_size=16",
    "training.precision=float32",
    "training.duration=20 epochs",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """300 digits as files; the first 45 have a brighter copy, and both a wrong label."""
    root, digits = tmp_path_factory.mktemp("files"), load_digits()
    pixels = np.rint(digits.images * (200 / 16)).astype(np.uint8)
    draws = np.random.default_rng(0)
    for n, index in enumerate(draws.permutation(len(pixels))[:300]):
        image, label = pixels[index], int(digits.target[index])
        files = {f"{label}/{index:04d}.png": image}
        if n < PAIRS:
            wrong_label = (label + draws.integers(1, 10)) % 10
            files = {f"{wrong_label}/{index:04d}-{k}-wrong.png": image + 9 * k for k in (0, 1)}
        for name, pixel in files.items():
            (root / name).parent.mkdir(exist_ok=True)
            Image.fromarray(pixel).save(root / name)
    return root


@pytest.fixture(scope="module")
def finished_audit(source, tmp_path_factory) -> Audit:
    out = tmp_path_factory.mktemp("audited") / "audit"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_audit, "MAX_ROWS", SHORT)
        return audit("quickstart", [f"data.source={source}", *SETTINGS], folds=2, csv=True, out=out)


def test_near_duplicates_are_judged_by_one_network_that_saw_none_of_them(
    finished_audit, source
) -> None:
    recipes = [RunFolder(finished_audit.path / "folds" / n).recipe().data for n in "01"]
    dataset = open_dataset(str(source))
    names = dataset.read("train").names
    folds = [{names[i] for i in held_out_fold(dataset, data).indices} for data in recipes]
    pairs = read_table(finished_audit.path / "pairs.csv")
    assert len(pairs) >= PAIRS - 2  # one or two may be in the test part
    for pair in pairs:
        assert sum({pair["image_a"], pair["image_b"]} <= fold for fold in folds) == 1


def read_table(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_the_tables_hold_every_label_and_both_paths_of_each_pair(finished_audit, source) -> None:
    result = finished_audit.findings()
    labels, pairs = (
        read_table(finished_audit.path / f"{name}.csv") for name in ("labels", "pairs")
    )
    assert len(labels) == result["labels"]["n"] > SHORT == len(result["labels"]["suspects"])
    assert [float(row["label_quality"]) for row in labels] == sorted(
        float(r["label_quality"]) for r in labels
    )
    for row, suspect in zip(labels, result["labels"]["suspects"], strict=False):
        assert (row["image"], int(row["index"])) == (suspect["name"], suspect["index"])
        assert (
            row["given_label"]
            == result["classes"][suspect["given_label"]]
            == row["image"].split("/")[0]
        )
    train = open_dataset(str(source)).read("train")
    for row in pairs:
        for end in "ab":
            assert (source / row[f"image_{end}"]).is_file()
            assert train.names[int(row[f"index_{end}"])] == row[f"image_{end}"]
            assert row[f"split_{end}"] == "train"
            assert row[f"label_{end}"] == row[f"image_{end}"].split("/")[0]
    assert len(pairs) == result["duplicates"]["n_equal"] + result["duplicates"]["n_near"]


def test_a_wrong_label_does_not_vouch_for_that_of_its_copy(finished_audit) -> None:
    """With copies in different folds a third of these were found, now four of five."""
    labels = read_table(finished_audit.path / "labels.csv")
    wrong_images = {row["image"] for row in labels if "wrong" in row["image"]}
    most_suspicious = {row["image"] for row in labels[: len(wrong_images)]}
    assert len(most_suspicious & wrong_images) > 0.6 * len(wrong_images)


def test_networks_that_learned_nothing_are_called_too_weak(source, tmp_path) -> None:
    settings = [f"data.source={source}", *SETTINGS[:-1], "training.duration=2 steps"]
    settings += ["schedule.kind=constant"]
    result = audit("quickstart", settings, folds=2, out=tmp_path / "audit").findings()
    [note] = result["labels"]["notes"]
    assert "too weak to judge" in note
    assert f"agree with {100 * result['labels']['agreement']:.1f} %" in note


@pytest.mark.parametrize(
    ("agreement", "classes", "is_weak"), [(0.56, 10, False), (0.54, 10, True), (0.6, 2, True)]
)
def test_the_line_is_half_the_errors_of_the_commonest_class(agreement, classes, is_weak) -> None:
    labels = np.arange(1000) % classes
    predicted = np.where(np.arange(1000) < 1000 * agreement, labels, (labels + 1) % classes)
    logits = 5 * np.eye(classes, dtype=np.float32)[predicted]
    training = Subset(np.zeros((1000, 1, 1, 1), np.uint8), labels, np.arange(1000))

    class Source:
        @staticmethod
        def read(_split: str) -> Subset:
            return training

    notes = label_findings(logits, training, Source(), 2, 0)["notes"]
    assert any("too weak" in note for note in notes) == is_weak


def test_a_group_too_large_for_a_fold_is_scattered_with_a_note() -> None:
    labels = np.repeat([0, 1], 30)
    training = Subset(np.zeros((100, 1, 1, 1), np.uint8), np.zeros(100, int), np.arange(40, 100))
    training.labels[40:] = labels
    chain = np.array([[n, n + 1] for n in range(11)])  # 12 of class 0's 30 images
    pairs = np.concatenate([chain, [[20, 55], [40, 41], [41, 42]]])
    assert fold_groups(pairs, training, 2) == ([list(range(40, 52)), [60, 95], [80, 81, 82]], 0)
    assert fold_groups(pairs, training, 3) == ([[60, 95], [80, 81, 82]], 12)
    logits = np.eye(2, dtype=np.float32)[training.labels]

    class Source:
        @staticmethod
        def read(_split: str) -> Subset:
            return training

    assert (
        "12 near-duplicates are in groups too large"
        in (label_findings(logits, training, Source(), 3, 12)["notes"][0])
    )
