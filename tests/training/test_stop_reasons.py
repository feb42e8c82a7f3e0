"""Training that ends before its planned length: early stopping, max_time, stop requests."""

import itertools
import os
import signal
from typing import get_args

import pytest

from cifarlab.config.duration import Duration
from cifarlab.recipes.schema import Extension
from cifarlab.run_folder.folder import RunFolder, describe_early_end
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.system.errors import Interrupted, RunFolderError
from cifarlab.system.signals import StopReason, StopRequest
from cifarlab.training import clock, loop
from cifarlab.training.callback import Callback
from cifarlab.training.extend import extend_run
from cifarlab.training.train import train

LONG = {"training.duration": "12 epochs", "evaluation.checkpoint": "best"}


@pytest.fixture
def unlucky(monkeypatch):
    """Validation that gets better in epochs 1, 2 and 4 and never again."""
    real, calls = loop.validate, itertools.count(1)
    accuracies = {1: 0.3, 2: 0.5, 3: 0.4, 4: 0.6}

    def spoilt(run):
        return real(run) | {"accuracy": accuracies.get(next(calls), 0.55)}

    monkeypatch.setattr(loop, "validate", spoilt)


@pytest.mark.parametrize(("patience", "epochs"), [(1, 3), (2, 6), (3, 7), (5, 9), (20, 12)])
def test_it_ends_after_so_many_epochs_without_a_better_one(
    tmp_path, tiny, unlucky, patience, epochs
):
    folder = RunFolder(tmp_path)
    result = train(tiny({**LONG, "training.early_stopping": {"patience": patience}}), folder)
    assert (result["epochs"], len(folder.metrics.read())) == (epochs, epochs)
    assert result["stop_reason"] == ("early_stopping" if epochs < 12 else "planned")
    assert result["steps"] == 11 * epochs
    assert result["evaluated"]["epoch"] == (2 if patience == 1 else 4)


def test_a_real_run_ends_as_its_metrics_log_says(tmp_path, tiny):
    folder = RunFolder(tmp_path)
    result = train(
        tiny({"training.duration": "60 epochs", "training.early_stopping": {"patience": 2}}), folder
    )
    accuracies = [line["val"]["accuracy"] for line in folder.metrics.read()]
    waited = [n - accuracies.index(max(accuracies[: n + 1])) for n in range(len(accuracies))]
    assert result["stop_reason"] == "early_stopping"
    assert waited.index(2) + 1 == result["epochs"] == len(waited)


class InterruptAfter(Callback):
    """Asks the run to stop once, after that epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, run, line):
        if line["epoch"] == self.epoch:
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("epoch", [1, 3])
def test_resumed_it_counts_its_patience_on(tmp_path, tiny, end_of, epoch):
    recipe = tiny({"training.duration": "60 epochs", "training.early_stopping": {"patience": 2}})
    uninterrupted, resumed = RunFolder(tmp_path / "uninterrupted"), RunFolder(tmp_path / "resumed")
    train(recipe, uninterrupted)
    with pytest.raises(Interrupted):
        train(recipe, resumed, callbacks=[InterruptAfter(epoch)])
    train(recipe, resumed, resume=True)
    assert end_of(resumed) == end_of(uninterrupted)


@pytest.fixture
def slow_clock(monkeypatch):
    """Each reading of the clock is a second after the one before."""
    seconds = itertools.count()
    monkeypatch.setattr(clock.time, "perf_counter", lambda: float(next(seconds)))


def test_max_time_ends_the_run_in_the_middle_of_an_epoch(tmp_path, tiny, slow_clock):
    folder = RunFolder(tmp_path)
    result = train(tiny({**LONG, "training.max_time": "20 s"}), folder)
    lines = folder.metrics.read()
    assert result["stop_reason"] == "max_time"
    assert 0 < result["steps"] == lines[-1]["step"] < 132
    assert result["steps"] % 11
    assert result["epochs"] == len(lines)
    assert lines[-1]["val"] is not None
    assert result["val"]["n"] and result["test"]["n"]


def test_a_max_time_that_is_never_reached_changes_nothing(tmp_path, tiny, finished, end_of):
    folder = RunFolder(tmp_path)
    assert train(tiny({"training.max_time": "10 h"}), folder)["stop_reason"] == "planned"
    end, expected = end_of(folder), end_of(finished)
    assert all(end[name] == expected[name] for name in ("last.safetensors", "state", "metrics"))


def test_a_run_out_of_time_that_is_killed_before_its_result_does_not_go_on(
    tmp_path, tiny, slow_clock
):
    recipe, folder = tiny({**LONG, "training.max_time": "20 s"}), RunFolder(tmp_path)
    result = train(recipe, folder)
    (folder.path / "result.json").unlink()
    second = train(recipe, folder, resume=True)
    assert (second["steps"], second["stop_reason"]) == (result["steps"], "max_time")


def test_every_ending_but_the_recipes_own_is_early():
    reasons = {
        reason for reason in get_args(StopReason) if describe_early_end({"stop_reason": reason})
    }
    assert reasons == {"max_time", "stopped"}


class StopAt(Callback):
    """Asks the run to stop after that epoch, or after that step of its second epoch."""

    def __init__(self, epoch, reason="stopped", step=None):
        self.epoch, self.reason, self.step, self.stop = epoch, reason, step, StopRequest()

    def on_step_end(self, run, images):
        if run.state.step == self.step:
            self.stop.ask(self.reason)

    def on_epoch_end(self, run, line):
        if line["epoch"] >= self.epoch:
            self.stop.ask(self.reason)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_callback_may_end_it_between_epochs(tmp_path, tiny, finished, epoch):
    folder, callback = RunFolder(tmp_path), StopAt(epoch)
    result = train(tiny(), folder, callbacks=[callback], stop=callback.stop)
    assert (result["stop_reason"], result["epochs"]) == ("stopped", epoch)
    lines = finished.metrics.read()[:epoch]
    assert without_cost(folder.metrics.read()) == without_cost(lines)
    with pytest.raises(RunFolderError, match="by a search"):
        extend_run(folder, Extension(duration=Duration.parse("1 epoch"), schedule="hold"))


def test_a_stop_request_after_the_last_epoch_is_its_planned_end(tmp_path, tiny):
    callback = StopAt(3)
    result = train(tiny(), RunFolder(tmp_path), callbacks=[callback], stop=callback.stop)
    assert result["stop_reason"] == "planned"


def test_a_stop_request_from_the_start_leaves_one_epoch(tmp_path, tiny):
    result = train(tiny(), RunFolder(tmp_path), stop=StopRequest("stopped"))
    assert (result["epochs"], result["steps"]) == (1, 11)


@pytest.mark.parametrize(("epoch", "step"), [(1, None), (3, None), (9, 15)])
def test_what_was_abandoned_is_left_without_a_result_and_goes_on(
    tmp_path, tiny, finished, end_of, epoch, step
):
    folder, callback = RunFolder(tmp_path), StopAt(epoch, "abandoned", step)
    with pytest.raises(Interrupted, match=f"after step {step or 11 * epoch} of 33"):
        train(tiny(), folder, callbacks=[callback], stop=callback.stop)
    assert not folder.is_finished
    train(tiny(), folder, resume=True)
    assert end_of(folder) == end_of(finished)


def test_what_ended_early_is_not_extended(tmp_path, tiny, unlucky):
    folder = RunFolder(tmp_path / "run")
    train(tiny({**LONG, "training.early_stopping": {"patience": 1}}), folder)
    more = Extension(duration=Duration.parse("1 epoch"), schedule="hold")
    with pytest.raises(RunFolderError, match=r"ended before its planned length.*early_stopping"):
        extend_run(folder, more)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_look_ahead_that_never_came_to_its_first_update_is_the_network_itself(tiny, tmp_path):
    """Its slow weights are the initial ones until then: what ended before had learned nothing."""
    losses = []
    averaged = {"averaging.kind": "lookahead", "averaging.every": 60}  # 11 steps an epoch
    for name, changes in (("averaged", LONG | averaged), ("plain", LONG)):
        folder = RunFolder(tmp_path / name)
        callback = StopAt(3)
        result = train(tiny(changes), folder, callbacks=[callback], stop=callback.stop)
        losses.append([line["val"]["loss"] for line in folder.metrics.read()])
        losses[-1].append(result["test"]["loss"])
        assert result["stop_reason"] == "stopped"
    assert losses[0] == losses[1] and len(set(losses[0])) == 4
