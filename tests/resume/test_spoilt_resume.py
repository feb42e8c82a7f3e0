"""The comparison of resumed and uninterrupted runs must be able to fail."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cifarlab.data.loader import Loader
from cifarlab.inference.weights import WeightsFile
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training import checkpoint, setup, step
from cifarlab.training.state import Totals
from cifarlab.training.train import train

REAL_ORDER, REAL_LOAD = Loader.order, checkpoint.Checkpoints.load_last
REAL_SET = step.set_step


def lose_momentum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(checkpoint, "_restore_optimizer", lambda *_: None)


def change_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Loader, "order", lambda self, epoch: REAL_ORDER(self, epoch + 1))


def restart_schedule(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(step, "set_step", lambda run, number: REAL_SET(run, max(0, number - 15)))


def lose_totals(patch: pytest.MonkeyPatch) -> None:
    def load(self: Any, state: Any, processes: Any) -> None:
        REAL_LOAD(self, state, processes)
        state.totals = Totals.zero(state.device)

    patch.setattr(checkpoint.Checkpoints, "load_last", load)


def lose_statistics(patch: pytest.MonkeyPatch) -> None:
    def load(classifier: torch.nn.Module, tensors: dict, path: Path) -> None:
        others = {name: t for name, t in tensors.items() if "running" not in name}
        classifier.load_state_dict(others, strict=False)

    patch.setattr(checkpoint, "load_weights", load)


def leave_draws_unseeded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(step, "seed_global", lambda *names: None)


@pytest.mark.parametrize(
    "spoil",
    [
        lose_momentum,
        change_order,
        restart_schedule,
        lose_statistics,
        leave_draws_unseeded,
    ],
)
def test_a_spoilt_resume_has_other_weights(
    tmp_path: Path,
    tiny: Callable,
    finished: RunFolder,
    end_of: Callable,
    signal_after: Callable,
    spoil: Callable[[pytest.MonkeyPatch], None],
) -> None:
    end, expected = (
        train_with_spoilt_resume(tmp_path, tiny, signal_after, end_of, spoil),
        end_of(finished),
    )
    assert end["last.safetensors"] != expected["last.safetensors"]
    assert end["state"] != expected["state"]
    assert end["metrics"] != expected["metrics"]


def test_lost_sums_show_in_the_metrics_log(
    tmp_path: Path, tiny: Callable, finished: RunFolder, end_of: Callable, signal_after: Callable
) -> None:
    end, expected = (
        train_with_spoilt_resume(tmp_path, tiny, signal_after, end_of, lose_totals),
        end_of(finished),
    )
    assert end["last.safetensors"] == expected["last.safetensors"]
    assert end["metrics"] != expected["metrics"]


def train_with_spoilt_resume(
    tmp_path: Path, tiny: Callable, signal_after: Callable, end_of: Callable, spoil: Callable
) -> dict[str, Any]:
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(tiny(), folder, callbacks=[signal_after(15)])
    assert WeightsFile.read(folder.weights("last"))[0].step == 15
    with pytest.MonkeyPatch.context() as patch:
        spoil(patch)
        train(tiny(), folder, resume=True)
    return end_of(folder)


def test_other_code_paths_are_the_real_ones() -> None:
    """The names that this file replaces are those that resuming calls."""
    assert setup.Checkpoints is checkpoint.Checkpoints
    assert callable(checkpoint._restore_optimizer)
