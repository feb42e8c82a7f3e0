"""The plateau schedule in a run: learning rates by the metrics log's losses, resume, extension."""

import os
import signal

import pytest

from cifarlab.config.duration import Duration
from cifarlab.recipes.schema import Extension
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training.callback import Callback
from cifarlab.training.extend import extend_run
from cifarlab.training.train import train

PLATEAU = {
    "schedule": {"kind": "plateau", "patience": 0, "factor": 0.5, "threshold": 0.2},
    "training.duration": "8 epochs",
}


def slow_lrs(losses, lr):
    """The lr of each epoch, from the validation losses of those before."""
    lrs, least = [], None
    for loss in losses:
        lrs.append(lr)
        if least is None or loss < 0.8 * least:
            least = loss
        else:
            lr /= 2
    return lrs


def read_log(folder):
    lines = folder.metrics.read()
    return [line["lr"] for line in lines], [line["val"]["loss"] for line in lines]


def test_the_lr_falls_as_the_metrics_log_s_losses_say(tmp_path, tiny):
    folder = RunFolder(tmp_path)
    train(tiny(PLATEAU), folder)
    lrs, losses = read_log(folder)
    assert lrs == pytest.approx(slow_lrs(losses, 0.1), rel=1e-12)
    assert len(set(lrs)) > 2


class InterruptAfter(Callback):
    """Asks the run to stop after that step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, run, images):
        if run.state.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", [40, 55, 60])
def test_resumed_it_remembers_what_it_saw(tmp_path, tiny, end_of, step):
    uninterrupted, resumed = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    train(tiny(PLATEAU), uninterrupted)
    with pytest.raises(Interrupted):
        train(tiny(PLATEAU), resumed, callbacks=[InterruptAfter(step)])
    train(tiny(PLATEAU), resumed, resume=True)
    assert end_of(resumed) == end_of(uninterrupted)


@pytest.mark.parametrize("how", ["hold", "restart", "stretch"])
def test_extended_it_holds_starts_anew_or_goes_on(tmp_path, tiny, how):
    folder = RunFolder(tmp_path / "run")
    train(tiny(PLATEAU), folder)
    extension = Extension(duration=Duration.parse("4 epochs"), schedule=how)
    recipe, longer = extend_run(folder, extension)
    train(recipe, longer, resume=True)
    lrs, losses = read_log(longer)
    before = slow_lrs(losses[:8], 0.1)
    after = {
        "hold": before[-1:] * 4,
        "restart": slow_lrs(losses[8:], 0.1),
        "stretch": slow_lrs(losses, 0.1)[8:],
    }[how]
    assert lrs == pytest.approx(before + after, rel=1e-12)
