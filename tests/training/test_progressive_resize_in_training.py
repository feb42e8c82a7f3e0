"""Progressive image sizes: what the network really receives, step by step."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training.callback import Callback
from cifarlab.training.run import Run
from cifarlab.training.train import train

SIZES = [{"start": "3 steps", "pixels": 5}, {"start": "0.5 of the run", "pixels": 6}]
CHANGES = {
    "augment.progressive_resize": [*SIZES, {"start": "1.5 epochs", "pixels": 8}],
    "training.duration": "2 epochs",
}
EXPECTED = [8] * 3 + [5] * 8 + [6] * 6 + [8] * 5  # of 22 steps; 1.5 epochs are 17


class TrainingSizes(Callback):
    """Sides of the images of each training pass, with the number of steps done before it."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []

    def on_train_start(self, run: Run) -> None:
        def look(classifier: Any, inputs: Any) -> None:
            if classifier.training:
                self.calls.append((run.state.step, *inputs[0].shape[1:3]))

        run.state.classifier.register_forward_pre_hook(look)


@pytest.mark.parametrize("interrupted", [None, 1, 7, 11, 14, 17, 19])
def test_the_network_receives_the_recipe_s_size(
    tmp_path: Path, tiny: Callable, signal_after: Callable, interrupted: int | None
) -> None:
    spy, folder = TrainingSizes(), RunFolder(tmp_path / "run")
    if interrupted is not None:
        with pytest.raises(Interrupted):
            train(tiny(CHANGES), folder, callbacks=[spy, signal_after(interrupted)])
        assert len(spy.calls) == interrupted
    train(tiny(CHANGES), folder, resume=folder.exists, callbacks=[spy])
    assert spy.calls == [(step, side, side) for step, side in enumerate(EXPECTED)]


def test_evaluation_is_always_at_full_size(tmp_path: Path, tiny: Callable) -> None:
    sides = set()

    class EvaluationSizes(Callback):
        def on_train_start(self, run: Run) -> None:
            def look(classifier: Any, inputs: Any) -> None:
                if not classifier.training:
                    sides.add(tuple(inputs[0].shape[1:3]))

            run.state.classifier.register_forward_pre_hook(look)

    changes = {"augment.progressive_resize": SIZES[:1], "training.duration": "5 steps"}
    train(tiny(changes), RunFolder(tmp_path / "run"), callbacks=[EvaluationSizes()])
    assert sides == {(8, 8)}
