"""The loop against a slow one written out here in plain PyTorch: same start, same batches."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import PLAIN_CNN
from torch import Tensor, nn

from cifarlab.augment.pipeline import Augmentation
from cifarlab.data.batch_sizes import batch_sizes
from cifarlab.data.loader import Loader
from cifarlab.data.opening import open_dataset
from cifarlab.data.splits import training_subsets
from cifarlab.inference.predictor import Predictor
from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import choose_compute
from cifarlab.system.randomness import derived_seed
from cifarlab.training.setup import build_state, compute_normalization
from cifarlab.training.train import train

CPU = torch.device("cpu")


def slow_loop(recipe: Recipe, epochs: int) -> tuple[nn.Module, list[float]]:
    """Weights after ``epochs`` and each epoch's mean training loss."""
    dataset = open_dataset(recipe.data.source)
    part, _ = training_subsets(dataset, recipe.data)
    augmentation = Augmentation(recipe.augment, dataset.image_shape, recipe.seed)
    sizes = batch_sizes(len(part), recipe.training.batch_size)
    loader = Loader(part, augmentation, sizes, recipe.seed, CPU)
    mean, std = compute_normalization(recipe, part, dataset.image_shape[2])
    network = build_state(
        recipe, dataset, part, mean, std, choose_compute("float32")
    ).classifier.train()
    velocity = {name: torch.zeros_like(p) for name, p in network.named_parameters()}
    step, means = 0, []
    for epoch in range(epochs):
        total = count = 0.0
        for images, labels, *_ in loader.epoch(epoch):
            torch.manual_seed(derived_seed(recipe.seed, "network", step))
            lr = slow_lr(recipe, step, epochs * len(sizes), len(sizes))
            loss = slow_loss(network(images), labels, recipe.loss.label_smoothing)
            network.zero_grad()
            loss.backward()
            clip(network, recipe.training.clip_grad_norm)
            slow_step(network, velocity, recipe.optimizer, lr)
            total, count = total + loss.item() * len(labels), count + len(labels)
            step += 1
        means.append(total / count)
    return network, means


def slow_lr(recipe: Recipe, step: int, steps: int, warmup: int) -> float:
    """One epoch of linear warm-up, then half a cosine to zero."""
    if step < warmup:
        return recipe.optimizer.lr * (step + 1) / warmup
    return recipe.optimizer.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


def slow_loss(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy with ``smoothing`` of the target spread over all classes."""
    target = torch.full_like(logits, smoothing / logits.shape[1])
    target[torch.arange(len(labels)), labels] += 1 - smoothing
    return -(target * logits.log_softmax(1)).sum(1).mean()


def clip(network: nn.Module, largest: float | None) -> None:
    if largest is None:
        return
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
    if norm > largest:
        for gradient in gradients:
            gradient.mul_(largest / norm)


def slow_step(network: nn.Module, velocity: dict[str, Tensor], sgd: Any, lr: float) -> None:
    """SGD with momentum, Nesterov's or not, and L2 in the gradient."""
    with torch.no_grad():
        for name, p in network.named_parameters():
            assert p.grad is not None
            gradient = p.grad + sgd.weight_decay * p
            velocity[name] = sgd.momentum * velocity[name] + gradient
            update = gradient + sgd.momentum * velocity[name] if sgd.nesterov else velocity[name]
            p -= lr * update


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss.label_smoothing": 0.2},
        {"training.clip_grad_norm": 0.5},
        {"optimizer.nesterov": False, "optimizer.momentum": 0.5},
    ],
    ids=["nesterov", "label smoothing", "clipping", "plain momentum"],
)
def test_same_weights_and_losses(
    tmp_path: Path, tiny: Callable[..., Recipe], changes: dict[str, Any]
) -> None:
    # without batch normalisation, which amplifies the last bits of sums in another order
    network = PLAIN_CNN | {"model.dropout": [0.0, 0.1, 0.2]}
    recipe = tiny({**network, "training.duration": "2 epochs", **changes})
    folder = RunFolder(tmp_path / "run")
    train(recipe, folder)
    expected, losses = slow_loop(recipe, epochs=2)
    weights = Predictor.load(folder.weights("last")).classifier.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6)
    metrics = folder.metrics.read()
    assert [line["train"]["loss"] for line in metrics] == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("key", ["loss.label_smoothing", "training.clip_grad_norm"])
def test_the_setting_changes_the_weights(
    tmp_path: Path, tiny: Callable[..., Recipe], key: str
) -> None:
    recipe = tiny({"training.duration": "1 epoch"})
    other = tiny({"training.duration": "1 epoch", key: 0.1})
    train(recipe, RunFolder(tmp_path / "a"))
    train(other, RunFolder(tmp_path / "b"))
    files = [RunFolder(tmp_path / name).weights("last").read_bytes() for name in "ab"]
    assert files[0] != files[1]
