"""The plateau schedule in a run: rates by the metrics log's losses, resume, extension."""

import os
import signal

import pytest
from prepared import Watching

from cifarlab.config.duration import Duration
from cifarlab.recipes.schema import Extension
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.training.extend import extend_run
from cifarlab.training.train import train

PLATEAU = {
    "schedule": {"kind": "plateau", "patience": 0, "factor": 0.5, "threshold": 0.2},
    "training.duration": "8 epochs",
}


def rates_by_hand(losses, rate):
    """The rate of each epoch, from the validation losses of those before."""
    rates, least = [], None
    for loss in losses:
        rates.append(rate)
        if least is None or loss < 0.8 * least:
            least = loss
        else:
            rate /= 2
    return rates


def told(folder):
    lines = folder.metrics.read()
    return [line["lr"] for line in lines], [line["val"]["loss"] for line in lines]


def test_the_rate_falls_as_the_metrics_log_s_losses_say(tmp_path, tiny):
    folder = RunFolder(tmp_path)
    train(tiny(PLATEAU), folder)
    rates, losses = told(folder)
    assert rates == pytest.approx(rates_by_hand(losses, 0.1), rel=1e-12)
    assert len(set(rates)) > 2


class Stop(Watching):
    """Asks the run to stop after that step."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, run, images):
        if run.state.step == self.step:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("step", [40, 55, 60])
def test_resumed_it_remembers_what_it_saw(tmp_path, tiny, end_of, step):
    whole, cut = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "cut")
    train(tiny(PLATEAU), whole)
    with pytest.raises(Interrupted):
        train(tiny(PLATEAU), cut, callbacks=[Stop(step)])
    train(tiny(PLATEAU), cut, resume=True)
    assert end_of(cut) == end_of(whole)


@pytest.mark.parametrize("how", ["hold", "restart", "stretch"])
def test_extended_it_holds_starts_anew_or_goes_on(tmp_path, tiny, how):
    folder = RunFolder(tmp_path / "run")
    train(tiny(PLATEAU), folder)
    extension = Extension(duration=Duration.parse("4 epochs"), schedule=how)
    recipe, longer = extend_run(folder, extension)
    train(recipe, longer, resume=True)
    rates, losses = told(longer)
    before = rates_by_hand(losses[:8], 0.1)
    after = {
        "hold": before[-1:] * 4,
        "restart": rates_by_hand(losses[8:], 0.1),
        "stretch": rates_by_hand(losses, 0.1)[8:],
    }[how]
    assert rates == pytest.approx(before + after, rel=1e-12)
