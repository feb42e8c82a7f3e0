"""A parameter group with an end: from there on it stands still, and autograd passes it by."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cifarlab.models.whitening import Whitening
from cifarlab.run_folder.folder import RunFolder
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train

CHANGES: dict[str, Any] = {
    "model.whitening": {"kernel_size": 2, "images": 50},
    "optimizer.whitening": {"until": "7 steps", "weight_decay": 0.1},
    "averaging.kind": "lookahead",  # which writes into weights on its own
    "averaging.every": 2,
    "training.duration": "1 epoch",
}


class Spy(Callback):
    """The whitening bias, its gradient, and whether its layer's output was tracked, by step."""

    def __init__(self) -> None:
        self.values: list[Tensor] = []
        self.has_gradient: list[bool] = []
        self.tracked: list[bool] = []

    def on_train_start(self, run: Run) -> None:
        modules = run.state.classifier.modules()
        (layer,) = (m for m in modules if isinstance(m, Whitening))
        self.bias = layer.bias
        self.values.append(self.bias.detach().clone())

        def look(layer: Whitening, _inputs: Any, output: Tensor) -> None:
            if layer.training:
                self.tracked.append(output.requires_grad)

        layer.register_forward_hook(look)

    def on_step_end(self, run: Run, images: int) -> None:
        self.values.append(self.bias.detach().clone())
        self.has_gradient.append(self.bias.grad is not None)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
@pytest.mark.parametrize("averaging", ["none", "lookahead"])
def test_after_its_end_it_stands_still(
    tmp_path: Path, tiny: Callable, optimizer: str, averaging: str
) -> None:
    changes = {**CHANGES, "averaging.kind": averaging, "optimizer.kind": optimizer}
    if averaging == "none":
        changes.pop("averaging.every")
    if optimizer != "sgd":
        changes["optimizer.lr"] = 0.01
    spy = Spy()
    train(tiny(changes), RunFolder(tmp_path / "run"), callbacks=[spy])
    assert spy.has_gradient == spy.tracked == [True] * 7 + [False] * 4
    values = spy.values
    assert all(not torch.equal(values[step], values[step + 1]) for step in range(7))
    first = 7 if averaging == "none" else 8  # look-ahead goes back to its average once more
    assert all(torch.equal(value, values[first]) for value in values[first:])
