"""Compilation ahead of training: of every kind of step, counted apart, without any effect."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import prepare_run
from torch import nn

import cifarlab.training.train
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.device import Compute, choose_compute
from cifarlab.system.errors import Interrupted, UserError
from cifarlab.system.signals import StopReason
from cifarlab.training.run import Run, Session
from cifarlab.training.setup import prepare
from cifarlab.training.step import step
from cifarlab.training.train import train
from cifarlab.training.warmup import compile_ahead

# three sizes, batches of two sizes, selection, frozen whitening: micro-batches of 10 kinds
CHANGES: dict[str, Any] = {
    "augment.progressive_resize": [
        {"start": "0 of the run", "pixels": 6},
        {"start": "3 steps", "pixels": 7},
        {"start": "1 epoch", "pixels": 8},
    ],
    "model.kind": "airbench",
    "model.channels": [4],
    "model.depths": 1,
    "model.whitening.images": 50,
    "optimizer.whitening.until": "9 steps",
    "averaging.kind": "ema",
    "training.batch_size": 200,
    "training.duration": "2 epochs",
    "training.micro_batch_size": 50,
    "training.selective_backprop": {"keep": 0.7, "start": "5 steps", "image_size": 5},
}
JITTER = {"augment.color_jitter.contrast": 0.2}  # float32 images where others are uint8
MIXUP = {"augment.mix": {"kind": "mixup", "prob": 0.5}}  # whether or not it is drawn


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Each graph that torch.compile makes from now on; it is run as it is."""
    graphs: list[Any] = []
    real = torch.compile

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    def quick(network: nn.Module, *, mode: str, dynamic: bool) -> Any:
        assert mode == "default"
        return real(network, backend=backend, dynamic=dynamic)

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", quick)
    monkeypatch.setenv("CIFARLAB_COMPILE", "default")
    yield graphs
    torch._dynamo.reset()


@pytest.mark.parametrize("augment", [{}, JITTER, MIXUP], ids=["uint8", "float32", "mixup"])
def test_all_is_compiled_before_training_and_changes_nothing(
    tmp_path: Path,
    tiny: Callable,
    end_of: Callable,
    compilations: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    augment: dict[str, Any],
) -> None:
    counts, fit = [], cifarlab.training.loop.fit

    def count_around(*arguments: Any) -> StopReason:
        counts.append(len(compilations))
        reason = fit(*arguments)
        counts.append(len(compilations))
        return reason

    recipe = tiny(CHANGES | augment)
    compiled, eager = RunFolder(tmp_path / "compiled"), RunFolder(tmp_path / "eager")
    with monkeypatch.context() as patch, torch._dynamo.config.patch(recompile_limit=4):
        patch.setattr(cifarlab.training.train, "fit", count_around)
        train(recipe, compiled)
    assert counts[0] == counts[1] > 4  # more than torch.compile does by itself
    assert len(compilations) == counts[1]  # evaluation runs the network as it is written
    monkeypatch.delenv("CIFARLAB_COMPILE")
    train(recipe, eager)
    assert len(compilations) == counts[1]
    assert end_of(compiled) == end_of(eager)
    assert compiled.provenance()["device"]["compiled"] == "default"
    assert eager.provenance()["device"]["compiled"] is None
    costs = [folder.result()["cost"] for folder in (compiled, eager)]
    assert costs[0]["compile_seconds"] > 0 == costs[1]["compile_seconds"]


def snapshot(run: Run) -> dict[str, Any]:
    classifier, optimizer = run.state.classifier, run.state.optimizer
    return copy.deepcopy(
        {
            "weights": classifier.state_dict(),
            "average": run.state.eval_classifier.state_dict(),
            "optimizer": optimizer.state_dict()["state"],
            "trained": [p.requires_grad for p in classifier.parameters()],
            "gradients": [p.grad is None for p in classifier.parameters()],
            "modes": [module.training for module in classifier.modules()],
            "sums": [run.state.totals.loss, run.state.totals.n_images],
            "counters": [run.state.step, run.state.epoch],
        }
    )


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def test_the_state_is_untouched(tmp_path: Path, tiny: Callable, compilations: list[Any]) -> None:
    run = prepare_run(tiny(CHANGES), tmp_path / "run")
    before = snapshot(run)
    compile_ahead(run)
    assert compilations
    assert equal(snapshot(run), before)
    assert before["optimizer"] == {}


def test_the_state_of_a_run_that_goes_on_is_untouched(
    tmp_path: Path, tiny: Callable, compilations: list[Any], signal_after: Callable
) -> None:
    """Interrupted after the whitening's end: its bias stays frozen, and only the rest is made."""
    folder, recipe = RunFolder(tmp_path / "run"), tiny(CHANGES)
    with pytest.raises(Interrupted):
        train(recipe, folder, callbacks=[signal_after(10)])
    first = len(compilations)
    run = prepare(recipe, folder, Session(resume=True))
    run.state.classifier.train()
    step(run, next(run.loader.epoch(1, 3)))  # so that all flags are those of step 10
    run.state.optimizer.zero_grad(set_to_none=True)
    before = snapshot(run)
    assert before["trained"].count(False) > 1 and before["optimizer"]
    compile_ahead(run)
    assert equal(snapshot(run), before)
    assert len(compilations) - first < first


def test_without_the_variable_nothing_is_compiled(
    tmp_path: Path, tiny: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(torch, "compile", never)
    monkeypatch.setenv("CIFARLAB_COMPILE", "")
    run = prepare_run(tiny(CHANGES), tmp_path / "run")
    assert run.network is run.state.classifier
    compile_ahead(run)
    assert run.clock.seconds["compile"] == 0


@pytest.mark.parametrize("mode", ["fast", "Default", "none"])
def test_an_unknown_mode_is_refused(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("CIFARLAB_COMPILE", mode)
    with pytest.raises(UserError, match=f"CIFARLAB_COMPILE={mode}") as caught:
        choose_compute()
    assert "max-autotune" in caught.value.hint


class Maximum(nn.Module):
    """The end of the airbench network: an activation, then the maximum over the map."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.linear = nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, 4, H, W) to (N, 2)."""
        logits: torch.Tensor = self.linear(nn.functional.silu(self.norm(x)).amax((2, 3)))
        return logits


def test_the_gradient_of_a_maximum_in_bfloat16() -> None:
    """Really compiled: of an activation that is computed again for the backward pass."""
    network, x = Maximum(), torch.rand(4, 4, 4, 4).bfloat16()
    gradients = []
    for mode in (None, "default"):
        compute = Compute(torch.device("cpu"), "bfloat16", mode)
        network.zero_grad()
        with compute.autocast():
            out = compute.compile(network)(x)
        out.float().square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0], rtol=0.05, atol=0.01)
