"""Weights files: damaged, foreign or another model's ones are refused in words."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from cifarlab.inference.predictor import Predictor
from cifarlab.inference.weights import WeightsFile
from cifarlab.models.build import build_body
from cifarlab.models.classifier import Classifier
from cifarlab.models.cnn import CNNConfig
from cifarlab.models.configs import Model
from cifarlab.models.resnet import ResNetConfig
from cifarlab.system.errors import CheckpointError, StorageError

RESIDUAL = ResNetConfig(stem_width=4, depths=(1,), channels=(4,), strides=(1,))


def classifier(model: Model, classes: int = 2) -> Classifier:
    return Classifier(build_body(model, (8, 8, 1), classes), [0.5], [0.5])


def write(path: Path, model: Model = RESIDUAL, classes: tuple[str, ...] = ("a", "b")) -> None:
    about = WeightsFile(model, classes, (8, 8, 1), "float32", "half", 1, 5)
    about.write(path, classifier(model, len(classes)))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def damage_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])


def replace_by_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def write_foreign_tensors(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path)


def write_foreign_metadata(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})


def write_no_json(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"cifarlab": "{"})


def write_list(path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, path, {"cifarlab": "[]"})


def write_unknown_model(path: Path) -> None:
    about = {"model": {"kind": "perceptron"}, "classes": ["a"], "image_shape": [8, 8, 1]}
    about["plugins"] = []
    save_file({"weight": torch.zeros(3)}, path, {"cifarlab": json.dumps(about)})


def write_unknown_normalization(path: Path) -> None:
    about, tensors = WeightsFile.read(path)
    WeightsFile(**{**vars(about), "normalization": "whitened"}).write(path, classifier(about.model))
    assert tensors.keys() == classifier(about.model).state_dict().keys()  # all else is right


def write_text_as_threshold(path: Path) -> None:
    about, _ = WeightsFile.read(path)
    WeightsFile(**{**vars(about), "tta_threshold": "low"}).write(path, classifier(about.model))


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        damage_header,
        replace_by_folder,
        write_foreign_tensors,
        write_foreign_metadata,
        write_no_json,
        write_list,
        write_unknown_model,
        write_unknown_normalization,
        write_text_as_threshold,
    ],
)
def test_damaged_or_foreign_files_are_refused(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    write(tmp_path / "w.safetensors")
    damage(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"w\.safetensors"):
        Predictor.load(tmp_path / "w.safetensors")


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        Predictor.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "other",
    [
        CNNConfig(channels=(2, 2), hidden_features=(4, 4)),
        ResNetConfig(stem_width=4, depths=(1,), channels=(6,), strides=(1,)),
        ResNetConfig(stem_width=4, depths=(2,), channels=(4,), strides=(1,)),
    ],
    ids=["kind", "width", "depth"],
)
def test_weights_of_another_model_are_refused(tmp_path: Path, other: Model) -> None:
    """Tensors of one network under the description of another."""
    write(tmp_path / "w.safetensors")
    _, tensors = WeightsFile.read(tmp_path / "w.safetensors")
    about = {
        "model": other.model_dump(mode="json"),
        "classes": ["a", "b"],
        "image_shape": [8, 8, 1],
        "precision": "float32",
        "normalization": "half",
        "epoch": 1,
        "step": 5,
        "tta_threshold": None,
        "plugins": [],
    }
    save_file(tensors, tmp_path / "w.safetensors", {"cifarlab": json.dumps(about)})
    with pytest.raises(CheckpointError, match="another model"):
        Predictor.load(tmp_path / "w.safetensors")


def test_a_folder_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="can't write"):
        write(tmp_path / "file" / "w.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_shape", [8, 8]),
        ("image_shape", ["8", 8, 1.5]),
        ("image_shape", [2**62, 8, 1]),
        ("image_shape", 8),
        ("classes", [1, 2]),
        ("classes", "ab"),
        ("model", {"kind": "resnet", "depths": [2**62, 1]}),
        ("model", {"kind": "resnet", "stem_width": 7, "norm": {"kind": "group", "num_groups": 3}}),
        ("precision", []),
    ],
)
def test_a_network_that_can_not_be_is_refused(copied, key, value):
    path = copied.weights("last")
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["cifarlab"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    path.write_bytes(save(tensors, {"cifarlab": json.dumps(about | {key: value})}))
    with pytest.raises(CheckpointError, match=r"last\.safetensors"):
        Predictor.load(path)
