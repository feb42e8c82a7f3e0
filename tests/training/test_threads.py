"""How many threads a run takes: as many as were requested, its earlier ones, or the free cores."""

import os
from types import SimpleNamespace

import psutil
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cifarlab.cli import app
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system import threads
from cifarlab.system.errors import Interrupted, UserError
from cifarlab.system.threads import Threads
from cifarlab.training.display import Display
from cifarlab.training.train import train


@pytest.fixture(autouse=True)
def four_free_cores(monkeypatch):
    """Four cores, nobody else; whatever a test sets is set back."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS")
    machine(monkeypatch, busy=0.0, cpus=4)
    yield
    torch.set_num_threads(before)


def machine(monkeypatch, busy, cpus=4, physical=None, limit=None):
    monkeypatch.setattr(threads, "_last_load", None)
    monkeypatch.setattr(threads, "_limit", None)
    monkeypatch.setattr(threads, "busy_cores", lambda: busy)
    monkeypatch.setattr(threads, "_own_cpus", lambda: list(range(cpus)))
    counts = {True: cpus, False: physical or cpus}
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: counts[logical])
    monkeypatch.setattr(threads.joblib, "cpu_count", lambda: limit or cpus)


@pytest.mark.parametrize(
    ("cpus", "physical", "limit", "busy", "count"),
    [
        (2, 2, None, 0.0, 2),
        (2, 2, None, 0.4, 2),  # what a machine does beside
        (2, 2, None, 1.0, 1),
        (2, 2, None, 2.0, 1),
        (16, 8, None, 0.0, 8),  # two hardware threads a core
        (16, 8, None, 1.0, 7),
        (64, 64, 2, 30.0, 2),  # a container's limit, its neighbours elsewhere
        (64, 64, 2, 63.0, 1),
    ],
)
def test_one_thread_for_each_free_core(monkeypatch, cpus, physical, limit, busy, count):
    machine(monkeypatch, busy, cpus, physical, limit)
    assert threads.use_threads(None).number == count == torch.get_num_threads()
    if busy < 0.5:
        assert not threads.available_threads().note


def test_the_argument_wins_then_the_environment_then_the_run_then_the_cores(monkeypatch):
    machine(monkeypatch, busy=1.0)
    assert threads.use_threads(None).number == 3
    assert threads.use_threads(None, earlier=2).number == 2
    monkeypatch.setenv("OMP_NUM_THREADS", "4,1")
    assert threads.use_threads(None, earlier=2) == Threads(4)
    assert threads.use_threads(1, earlier=2) == Threads(1)
    for number in (0, 5, 100_000):
        with pytest.raises(UserError, match=f"{number} threads: this machine has 4 processors"):
            threads.use_threads(number)


def test_a_run_from_a_larger_machine_takes_what_there_is():
    assert threads.use_threads(None, earlier=64).number == 4


def test_one_of_several_takes_its_part_and_looks_at_nobody(monkeypatch):
    monkeypatch.setattr(threads, "busy_cores", lambda: pytest.fail("looked"))
    threads.limit_threads(2)
    assert threads.use_threads(None) == Threads(2)
    assert threads.use_threads(None, earlier=3) == Threads(3)


def test_all_runs_of_a_block_have_its_number(monkeypatch):
    monkeypatch.setattr(threads, "busy_cores", lambda: 3.0)
    with threads.hold_threads(3):
        assert threads.use_threads(None) == Threads(3)
    assert threads.use_threads(None).number == 1


def test_the_machine_is_looked_at_once_a_minute(monkeypatch):
    looks, now = [], [100.0]
    monkeypatch.setattr(threads, "busy_cores", lambda: float(looks.append(1) or 0.0))
    monkeypatch.setattr(threads.time, "monotonic", lambda: now[0])
    for second, total in ((0, 1), (59, 1), (61, 2)):
        now[0] = 100.0 + second
        threads.available_threads()
        assert len(looks) == total


@pytest.mark.parametrize(("niceness", "busy"), [(0, 1.5), (5, 2.25)])
def test_others_count_but_this_process_and_those_that_give_way_do_not(monkeypatch, niceness, busy):
    now = [0.0]

    def times(percpu):  # seconds that two of the four cores were used; the last two aren't ours
        first = SimpleNamespace(user=now[0], system=now[0] / 2, nice=now[0] * 0.75, idle=9.0)
        second = SimpleNamespace(user=now[0] / 2, system=0.0, nice=0.0, idle=9.0)
        return [first, second, SimpleNamespace(user=now[0] * 7), SimpleNamespace(user=now[0] * 7)]

    process = SimpleNamespace(nice=lambda: niceness, cpu_times=lambda: (now[0] / 2, 0.0, 0.0, 0.0))
    monkeypatch.undo()
    monkeypatch.setattr(threads, "_own_cpus", lambda: [0, 1])
    monkeypatch.setattr(psutil, "cpu_times", times)
    monkeypatch.setattr(psutil, "Process", lambda: process)
    monkeypatch.setattr(threads.time, "sleep", lambda seconds: now.__setitem__(0, seconds))
    monkeypatch.setattr(threads.time, "monotonic", lambda: now[0])
    assert threads.busy_cores() == pytest.approx(busy)


def test_this_machine_can_be_looked_at(monkeypatch):
    monkeypatch.undo()
    before = threads._busy_seconds()
    assert 0.0 <= threads.busy_cores() <= (os.cpu_count() or 1)
    assert threads._busy_seconds() > before > 0
    assert 1 <= threads.cores() <= (os.cpu_count() or 1)


def test_a_resumed_run_keeps_its_threads_though_the_machine_is_busy_now(
    tiny, tmp_path, monkeypatch, signal_after, capsys
):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Interrupted):
        train(tiny(), folder, threads=2, callbacks=[signal_after(5)])
    assert folder.provenance()["device"]["threads"] == 2
    torch.set_num_threads(1)
    machine(monkeypatch, busy=3.0)
    train(tiny(), folder, resume=True, callbacks=[Display()])
    assert torch.get_num_threads() == 2
    assert [start["device"]["threads"] for start in folder.provenance()["starts"]] == [2, 2]
    output = capsys.readouterr().out
    assert "other processes use 3.0 of these 4 cores" in output
    assert "goes on with its 2 threads, so that its bits hold" in output


def test_the_terminal_says_what_a_busy_machine_leaves(tiny, tmp_path, monkeypatch, capsys):
    machine(monkeypatch, busy=1.2)
    recipe = tiny({"training.duration": "1 epoch"})
    train(recipe, RunFolder(tmp_path / "run"), callbacks=[Display()])
    assert "other processes use 1.2 of these 4 cores: 3 threads" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["evaluate", "explain", "predict"])
def test_looking_at_a_run_takes_the_free_cores_too(finished, tmp_path, monkeypatch, command):
    Image.new("L", (8, 8)).save(tmp_path / "image.png")
    words = [] if command == "evaluate" else [str(tmp_path / "image.png")]
    words += ["--out", str(tmp_path / "out")] if command == "explain" else []
    machine(monkeypatch, busy=1.2)
    outcome = CliRunner().invoke(app, [command, str(finished.path), *words])
    assert outcome.exit_code == 0, outcome.output
    assert torch.get_num_threads() == 3
    assert "other processes use 1.2 of these 4 cores: 3 threads" in outcome.stderr
