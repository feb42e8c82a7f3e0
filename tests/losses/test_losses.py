"""Losses against plain loops, every kind against what training asks of it, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from made_plugin import NAMED, known
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from cifarlab.augment.config import Augment
from cifarlab.augment.mixing import NoMix
from cifarlab.config.family import allow_plugins, set_kind_owner
from cifarlab.data.loader import Batch
from cifarlab.losses.build import build_loss, mean_loss
from cifarlab.losses.kinds import BinaryCrossEntropy, CrossEntropy, Focal, LossConfig
from cifarlab.recipes.schema import Recipe
from cifarlab.recipes.text import build, fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RecipeError
from cifarlab.training.step import mixed_loss
from cifarlab.training.train import train

CLASSES, COUNTS = ("ant", "bee", "cat", "dog"), (10, 40, 30, 20)
CPU = torch.device("cpu")
WEIGHTS = {"bee": 0.5, "dog": 3.0}
of_each_kind = pytest.mark.parametrize("config", known(LossConfig), ids=lambda c: c.kind)


def random_batch(n: int = 12) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, 4, generator=draws, dtype=torch.float64)
    return logits, torch.randint(0, 4, (n,), generator=draws)


def build_fn(config: LossConfig) -> Any:
    return build_loss(config, CLASSES, COUNTS, CPU)


def slow_softmax(row: list[float]) -> list[float]:
    powers = [math.exp(z) for z in row]
    return [power / sum(powers) for power in powers]


def slow_target(label: int, smoothing: float) -> list[float]:
    return [(1 - smoothing) * (k == label) + smoothing / 4 for k in range(4)]


def slow_cross_entropy(row: list[float], label: int, smoothing: float) -> float:
    pairs = zip(slow_target(label, smoothing), slow_softmax(row), strict=True)
    return -sum(t * math.log(p) for t, p in pairs)


def slow_focal(row: list[float], label: int, gamma: float) -> float:
    p = slow_softmax(row)[label]
    return -((1 - p) ** gamma) * math.log(p)


def slow_binary(row: list[float], target: list[float]) -> float:
    total = 0.0
    for z, t in zip(row, target, strict=True):
        p = 1 / (1 + math.exp(-z))
        total -= t * math.log(p) + (1 - t) * math.log(1 - p)
    return total


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize(
    ("config", "slow", "setting"),
    [
        (CrossEntropy(), slow_cross_entropy, 0.0),
        (CrossEntropy(label_smoothing=0.3), slow_cross_entropy, 0.3),
        (BinaryCrossEntropy(), lambda z, y, s: slow_binary(z, slow_target(y, s)), 0.0),
        (
            BinaryCrossEntropy(label_smoothing=0.3),
            lambda z, y, s: slow_binary(z, slow_target(y, s)),
            0.3,
        ),
        (Focal(), slow_focal, 2.0),
        (Focal(gamma=0.5), slow_focal, 0.5),
    ],
)
def test_each_image_s_loss_is_the_formula(
    config: Any, slow: Callable, setting: float, weights: dict[str, float] | None
) -> None:
    logits, labels = random_batch()
    loss = build_fn(config.model_copy(update={"class_weights": weights}))
    factors = [(weights or {}).get(name, 1.0) for name in CLASSES]
    expected = [
        factors[label] * slow(row, label, setting)
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert loss(logits, labels).tolist() == pytest.approx(expected, rel=1e-6)
    assert mean_loss(loss, logits, labels).item() == pytest.approx(np.mean(expected), rel=1e-6)


def test_the_mean_without_weights_is_pytorch_s_to_the_last_bit() -> None:
    logits, labels = random_batch(100)
    for smoothing in (0.0, 0.2):
        ours = mean_loss(build_fn(CrossEntropy(label_smoothing=smoothing)), logits.float(), labels)
        theirs = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits.float(), labels)
        assert torch.equal(ours, theirs)


@of_each_kind
def test_the_means_of_a_batch_s_parts_add_up(config: LossConfig) -> None:
    if "class_weights" in type(config).model_fields:
        config = config.model_copy(update={"class_weights": WEIGHTS})
    (logits, labels), loss = random_batch(), build_fn(config)
    parts = [mean_loss(loss, logits[part], labels[part]) for part in (slice(5), slice(5, 12))]
    total = mean_loss(loss, logits, labels)
    torch.testing.assert_close(parts[0] * 5 / 12 + parts[1] * 7 / 12, total)


@of_each_kind
def test_a_step_against_the_gradient_lowers_it(config: LossConfig) -> None:
    (logits, labels), loss = random_batch(), build_fn(config)
    logits.requires_grad_()
    before = mean_loss(loss, logits, labels)
    before.backward()
    assert logits.grad is not None and logits.grad.abs().sum() > 0
    assert mean_loss(loss, logits - 1e-3 * logits.grad, labels) < before


@of_each_kind
@pytest.mark.parametrize("scale", [0.0, 100.0, 1e4])
def test_losses_and_gradients_of_sure_predictions_are_finite(
    config: LossConfig, scale: float
) -> None:
    logits = (scale * torch.eye(4)).requires_grad_()
    for labels in (torch.arange(4), torch.arange(4).flip(0)):
        loss = mean_loss(build_fn(config), logits, labels)
        loss.backward()
        assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_has_no_wrong_slope_where_it_is_nearly_sure(gamma: float) -> None:
    logits = torch.tensor([[20.0, 0, 0, 0]], requires_grad=True)
    build_fn(Focal(gamma=gamma))(logits, torch.tensor([0])).sum().backward()
    assert logits.grad is not None and logits.grad[0, 0] <= 0


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("lam", [0.0, 0.3, 0.9])
def test_binary_cross_entropy_of_a_mixed_image_is_that_of_the_mixed_target(
    lam: float, smoothing: float
) -> None:
    logits, labels = random_batch()
    batch = Batch(torch.zeros(12, 1, 1, 1), labels, labels.roll(1), lam)
    expected = []
    for row, label, other in zip(logits, labels, labels.roll(1), strict=True):
        targets = [slow_target(int(y), smoothing) for y in (label, other)]
        mixed = [lam * a + (1 - lam) * b for a, b in zip(*targets, strict=True)]
        expected.append(slow_binary(row.tolist(), mixed))
    loss = build_fn(BinaryCrossEntropy(label_smoothing=smoothing))
    assert mixed_loss(loss, logits, batch).tolist() == pytest.approx(expected)


def test_balanced_weights_are_scikit_learn_s() -> None:
    labels = np.repeat(np.arange(4), COUNTS)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels).tolist()
    balanced = CrossEntropy(class_weights="balanced")
    assert balanced.weights(CLASSES, COUNTS) == pytest.approx(expected)
    without_elks = balanced.weights((*CLASSES, "elk"), (*COUNTS, 0))
    assert without_elks == pytest.approx([*expected, 1.0])


@pytest.mark.parametrize(
    ("weights", "counts", "what"),
    [
        ({"cow": 2.0}, COUNTS, "no training image is of class 'cow'"),
        ({"dog": 2.0}, (1, 1, 1, 0), "no training image is of class 'dog'"),
        ({"dog": 1.0}, COUNTS, "changes nothing"),
        ({}, COUNTS, "changes nothing"),
        ("balanced", (7, 7, 7, 7), "changes nothing"),
    ],
)
def test_weights_that_nothing_uses_are_refused(weights: Any, counts: Any, what: str) -> None:
    with pytest.raises(RecipeError, match=what):
        build_loss(CrossEntropy(class_weights=weights), CLASSES, counts, CPU)


@pytest.mark.parametrize("weights", [{"dog": 0.0}, {"dog": -1.0}, {"dog": "x"}, "even", 2, [1, 2]])
def test_a_wrong_weight_is_refused(weights: Any) -> None:
    with pytest.raises(RecipeError, match=r"loss\.class_weights"):
        build({"loss": {"class_weights": weights}})


def test_what_is_no_loss_of_each_image_is_refused() -> None:
    with set_kind_owner("this test"):

        class Mean(LossConfig):
            kind: Literal["mean"] = "mean"

            def build(self, classes: Any, counts: Any) -> Any:
                return torch.nn.CrossEntropyLoss()

    with pytest.raises(RecipeError, match=r"shape \(\) for 3 images"):
        build_fn(Mean())


@of_each_kind
@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_a_loss_is_right_under_a_mix_or_refused(config: LossConfig, mix: str) -> None:
    tree = {"augment": {"mix": {"kind": mix}}, "loss": config.model_dump(), **NAMED}
    if not config.mixes:
        with pytest.raises(RecipeError, match="no meaning for mixed images"):
            build(tree)
        return
    build(tree)
    (logits, labels), loss = random_batch(), build_fn(config)
    batch = Batch(torch.zeros(12, 1, 1, 1), labels, labels.roll(1), 0.3)
    expected = 0.3 * loss(logits, labels) + 0.7 * loss(logits, labels.roll(1))
    torch.testing.assert_close(mixed_loss(loss, logits, batch), expected)


def test_a_loss_is_mixed_only_where_it_says_so() -> None:
    unmixed = {config.kind for config in known(LossConfig) if not config.mixes}
    assert unmixed >= {"focal", "made-hinge"}


def test_a_mix_that_mixes_nothing_goes_with_any_loss() -> None:
    with set_kind_owner("this test"):

        class Idle(NoMix):
            kind: Literal["idle"] = "idle"

    with allow_plugins(["this test"]):
        recipe = Recipe(loss=Focal(), augment=Augment(mix=Idle()))
    assert recipe.augment.mix.kind == "idle"


def test_the_order_of_class_weights_is_not_in_the_fingerprint() -> None:
    first, second = (
        build({"loss": {"class_weights": weights}})
        for weights in ({"cat": 2, "dog": 3}, {"dog": 3, "cat": 2})
    )
    changed = build({"loss": {"class_weights": {"cat": 3, "dog": 2}}})
    assert fingerprint(first) == fingerprint(second) != fingerprint(changed)


@pytest.mark.parametrize(
    "loss",
    [
        {"kind": "focal"},
        {"kind": "binary_cross_entropy", "label_smoothing": 0.1},
        {"class_weights": {"3": 5.0}},
        {"class_weights": "balanced"},
    ],
)
def test_it_trains_on_the_digits_and_changes_the_weights(
    tmp_path: Path, tiny: Callable, finished: RunFolder, loss: dict[str, Any]
) -> None:
    result = train(tiny({"loss": loss}), RunFolder(tmp_path / "run"))
    other = (finished.result() or {})["weights_sha256"]
    assert result["weights_sha256"]["last"] != other["last"]
    # what is measured is the cross-entropy, whatever is trained on
    assert result["val"]["loss"] == result["val"]["metrics"]["log_loss"]
