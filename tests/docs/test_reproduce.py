"""What benchmarks/reproduce.py plans, and that nothing stops it but a stop.

A script stands for cifarlab: it begins a run, and ends it where it is resumed.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path

import pytest

from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import RunFolderError
from cifarlab.system.files import lock_folder, read_text, write_json

BASELINE = "kth2022/baseline"  # kth2024/baseline is the same
FAKE = """
import json, shutil, signal, sys, time
from pathlib import Path

TEMPLATE = Path({template!r})
words, folder = sys.argv[2:], Path(sys.argv[sys.argv.index("--run") + 1])
with open({calls!r}, "a") as file:
    file.write(" ".join(words) + "\\n")
if any(word.startswith({broken!r}) for word in words):
    sys.exit(2)
is_measured = "training.duration=40 steps" in words
folder.mkdir(parents=True, exist_ok=True)
for name in ("format.json", "recipe.yaml"):
    shutil.copy(TEMPLATE / name, folder)
if not ("--resume" in words or is_measured):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    (folder / "begun").touch()
    for _ in range(1200):  # a signal just before one long sleep would be seen after it
        time.sleep(0.05)
shutil.copytree(TEMPLATE, folder, dirs_exist_ok=True)
if is_measured:
    result = json.loads((folder / "result.json").read_text())
    result["cost"]["train_seconds"], result["steps"] = 0.04, 40
    (folder / "result.json").write_text(json.dumps(result))
"""
SCRIPT = """
import signal, sys; sys.path.insert(0, {benchmarks!r})
from argparse import Namespace; from pathlib import Path
import reproduce, _planning, _published, _reports
_published.DOCS = _reports.DOCS = Path({docs!r})
reproduce.TICK = 0.05
reproduce.Runner.command = (sys.executable, {fake!r})
options = Namespace(runs=Path({runs!r}), jobs=1, device="cpu", hours=1.0)
runner = reproduce.Runner(options)
signal.signal(signal.SIGTERM, runner.stop)
runner.train([_planning.PlannedRun({recipe!r})], [])
"""


@pytest.fixture
def work(modules, docs, tmp_path, made_run, monkeypatch):
    """A function that makes a runner of the fake; ``work.calls()`` are the commands that it saw."""
    template = made_run(tmp_path / "template", BASELINE)
    monkeypatch.setattr(modules.reproduce, "TICK", 0.05)
    monkeypatch.setattr(modules.reproduce, "GRACE", 10)

    def make(hours=1.0, broken="nothing", **costs):
        facts = {"template": str(template), "calls": str(tmp_path / "calls"), "broken": broken}
        (tmp_path / "fake.py").write_text(FAKE.format(**facts))
        options = Namespace(runs=tmp_path / "runs", jobs=1, device="cpu", hours=hours)
        runner = modules.reproduce.Runner(options)
        runner.command = (sys.executable, str(tmp_path / "fake.py"))
        if costs:
            write_json(modules.published.costs_file(), {runner.machine: costs})
        return runner

    make.calls = lambda: read_text(tmp_path / "calls").splitlines()
    make.run = modules.planning.PlannedRun(BASELINE)
    make.folder = tmp_path / "runs" / BASELINE / "seed-0"
    yield make


def begin(work):
    """Begin the run as an earlier start would have, so that it is resumed."""
    RunFolder(work.folder).write_recipe(find(BASELINE))


# --------------------------------------------------------------------------------- what is planned


def test_each_entry_of_an_order_plans_something(modules, docs):
    for order in (modules.planning.ORDER, modules.planning.ORDER_ON_GPU):
        for entry in order:
            assert modules.planning.plan((entry,), "*")[0], entry


def test_a_row_is_planned_by_any_of_its_names_once(modules, docs):
    order = ((BASELINE, 1), ("kth2024/baseline", 3), ("kth2024/exchanged", 1))
    ordered, rest = modules.planning.plan(order, "kth2024/*")
    PlannedRun = modules.planning.PlannedRun  # noqa: N806
    assert ordered == [
        *(PlannedRun(BASELINE, seed) for seed in range(3)),
        PlannedRun("kth2024/exchanged"),
    ]
    assert PlannedRun(BASELINE) not in rest
    assert PlannedRun("kth2024/combined") in rest


def test_only_takes_rows_and_searches_of_a_name(modules, docs):
    ordered, rest = modules.planning.plan(modules.planning.ORDER, "asha2021/*")
    assert {planned.name for planned in ordered} >= {"asha2021/classic", "search asha2021/classic"}
    assert all("asha2021/" in planned.name for planned in [*ordered, *rest])
    searches = [planned for planned in [*ordered, *rest] if planned.name.startswith("search ")]
    assert len(searches) == 4


def test_what_is_published_is_not_planned_until_its_recipe_changes(modules, docs, made_run):
    planning, published = modules.planning, modules.published
    target = published.run_target(BASELINE, 0)
    published.publish_run(made_run(docs.parent / "made", BASELINE), target, 1.0)
    order = ((BASELINE, 2),)
    assert planning.plan(order, BASELINE)[0] == [planning.PlannedRun(BASELINE, 1)]
    before = change(find(BASELINE), {"optimizer.lr": 0.5})
    RunFolder(target).write_recipe(before)
    assert planning.plan(order, BASELINE)[0][0] == planning.PlannedRun(BASELINE, 0)


def test_a_search_costs_what_its_rungs_leave_of_it(modules):
    search = modules.planning.PlannedSearch("kth2024/adamw")
    per_epoch = modules.planning.n_steps(find("kth2024/adamw")) / 400 * 0.9
    epochs = 12 * (1 + 1 / 2 + 2 / 4 + 4 / 8 + 8 / 16) + 16  # rungs 1, 2, 4, 8; the best again
    assert search.steps == pytest.approx(per_epoch * epochs, rel=1e-3)


# ------------------------------------------------------------------------------ what is published


def test_what_can_t_be_published_leaves_what_is_there(modules, docs, made_run):
    published, target = modules.published, modules.published.run_target(BASELINE, 0)
    published.publish_run(made_run(docs.parent / "one", BASELINE), target, 3.6)
    broken = made_run(docs.parent / "two", BASELINE)
    shutil.rmtree(broken / "predictions")
    before = {file: file.read_bytes() for file in target.iterdir()}
    with pytest.raises(RunFolderError):
        published.publish_run(broken, target, 3.6)
    assert {file: file.read_bytes() for file in target.iterdir()} == before
    assert published.published_runs() == [target]  # not the half of the other


def test_a_pause_is_no_hour_of_training(modules, docs, made_run):
    published, target = modules.published, modules.published.run_target(BASELINE, 0)
    folder = made_run(docs.parent / "made", BASELINE)
    lines = RunFolder(folder).metrics.read()
    lines[0]["cost"]["train_seconds"] += 3600
    log = RunFolder(folder).metrics
    log.path.unlink()
    for line in lines:
        log.append(line)
    published.publish_run(folder, target, 36.0)
    assert published.published_hours(target) == 0.01


# ----------------------------------------------------------------------------------- how it is run


def test_a_run_is_measured_stopped_resumed_and_published(work, modules):
    runner = work()
    stop_once_begun = modules.reproduce.threading.Thread(target=_stop, args=(runner, work.folder))
    stop_once_begun.start()
    runner.train([work.run], [])
    stop_once_begun.join()
    measured, trained = work.calls()
    assert measured.startswith(f"{BASELINE} {' '.join(modules.reproduce.MEASURED)} --run")
    assert trained == f"{BASELINE} seed=0 --run {BASELINE}/seed-0"  # no path of this machine
    n_steps = modules.planning.n_steps(find(BASELINE))
    costs = modules.published.read_costs()[runner.machine]
    assert costs[BASELINE] == pytest.approx(0.04 / 40 * n_steps / 3600, abs=1e-3)
    assert not work.run.target.exists()
    work().train([work.run], [])
    assert work.calls()[2:] == [f"{trained} --resume"]
    assert work.run.target.exists()
    assert f"| `{BASELINE}` | 68 | " in read_text(modules.published.DOCS / "reports.md")


def _stop(runner, folder):
    while not (folder / "begun").exists():
        time.sleep(0.02)
    runner.stop()


def test_what_has_finished_is_published_without_a_command(work, made_run):
    made_run(work.folder, BASELINE)
    work().train([work.run], [])
    assert work.run.target.exists()
    with pytest.raises(FileNotFoundError):
        work.calls()


def test_a_run_of_another_recipe_is_set_aside(work, modules):
    RunFolder(work.folder).write_recipe(change(find(BASELINE), {"optimizer.lr": 0.5}))
    modules.reproduce.set_aside_others(work.run, work.folder)
    assert not work.folder.exists()
    assert RunFolder(work.folder.with_name("seed-0-2")).recipe().optimizer.lr == 0.5
    begin(work)
    modules.reproduce.set_aside_others(work.run, work.folder)
    assert work.folder.exists()


def test_what_can_t_be_measured_is_left_out(work, modules, capsys):
    begin(work)
    broken = modules.planning.PlannedRun("kth2024/exchanged")
    work(broken="kth2024").train([broken], [broken, work.run])
    assert capsys.readouterr().out.count("exchanged 0 left out, since its first steps failed") == 2
    assert work.run.target.exists()


def test_steps_that_cost_the_same_are_measured_once(work, modules):
    runner = work()
    names = ("kth2024/cosine", "kth2024/step-decay", "kth2024/adam", "kth2024/adamw")
    runs = [modules.planning.PlannedRun(name) for name in names]
    hours = [runner.measure_hours(run) for run in runs]
    assert [call.split()[0] for call in work.calls()] == [*names[:1], *names[2:]]
    steps = [modules.planning.n_steps(find(name)) for name in names]
    assert hours == [round(0.04 / 40 * n / 3600, 3) for n in steps]


def test_the_rest_is_trained_the_cheapest_first(work, modules, capsys):
    runs = [modules.planning.PlannedRun(name) for name in ("fudan/mixup", BASELINE, "fudan/step")]
    costs = {"fudan/mixup": 3.0, BASELINE: 2.5, "fudan/step": 2.0}
    work(**costs).train([], runs)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["fudan/step", BASELINE, "fudan/mixup"]
    assert all(line.endswith("hours, more than are left") for line in lines)


def test_once_the_hours_are_over_nothing_begins_or_is_measured(work, modules, capsys):
    runner = work(hours=0.0)
    assert runner.stopped.wait(5)
    runner.train([work.run], [modules.planning.PlannedRun("fudan/step")])
    assert capsys.readouterr().out == ""
    assert not work.folder.exists()


def test_hours_end_a_run_after_its_checkpoint(work, capsys):
    runner = work(hours=1 / 3600, **{BASELINE: 0.0})
    runner.train([work.run], [])
    assert (work.folder / "begun").exists()
    assert capsys.readouterr().out.endswith(f"{BASELINE} 0 stopped\n")


def test_a_folder_that_is_held_is_waited_for(work, modules, monkeypatch, capsys):
    begin(work)
    monkeypatch.setattr(modules.reproduce, "GRACE", 0.1)
    with lock_folder(work.folder, RunFolderError("held", "wait")):
        work().train([work.run], [])
    assert "is in use by another process; end it" in capsys.readouterr().out
    work().train([work.run], [])
    assert work.run.target.exists()


@pytest.fixture
def script(work, modules, tmp_path):
    """The script as a process of its own, in a process group of its own."""
    work(**{BASELINE: 0.0})
    facts = {"fake": str(tmp_path / "fake.py"), "runs": str(tmp_path / "runs")}
    facts |= {"docs": str(modules.published.DOCS), "recipe": BASELINE}
    facts["benchmarks"] = str(Path(modules.reproduce.__file__).parent)
    words = [sys.executable, "-c", SCRIPT.format(**facts)]
    process = subprocess.Popen(words, start_new_session=True)
    try:
        while not (work.folder / "begun").exists():
            assert process.poll() is None
            time.sleep(0.02)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_sigkill_of_the_script_ends_what_it_had_started(script, work):
    import psutil

    (child,) = psutil.Process(script.pid).children()
    script.kill()
    script.wait()
    child.wait(10)
    work().train([work.run], [])
    assert work.run.target.exists()


def test_a_pause_of_the_group_is_not_counted(script, work):
    os.killpg(script.pid, signal.SIGSTOP)
    time.sleep(2)
    os.killpg(script.pid, signal.SIGCONT)
    script.terminate()
    script.wait(20)
    wall = time.time() - (work.folder / "begun").stat().st_mtime
    assert float(read_text(work.folder.with_suffix(".seconds"))) < wall - 1.9
