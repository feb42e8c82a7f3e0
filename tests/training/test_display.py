"""What ``train`` prints of itself, and where it trains, when it is called from Python."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.terminal import format_duration
from cifarlab.training.callback import Callback
from cifarlab.training.display import Display
from cifarlab.training.plan import plan_batches
from cifarlab.training.tensor_stats import TensorStats
from cifarlab.training.train import train
from cifarlab.training.workload import count_work

FOUR_STEPS = {"training.duration": "4 steps"}


def test_it_prints_as_the_command_line_does(tiny, tmp_path, capsys):
    result = train(tiny(FOUR_STEPS), tmp_path / "run")
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("10 classes: 0, 1, ") and lines[1].startswith("tiny on digits; cpu")
    assert f"test accuracy {100 * result['test']['accuracy']:.2f} % on digits" in lines[-1]
    assert err == "" and not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("callbacks", [(), [TensorStats()]])
def test_with_callbacks_of_ones_own_it_is_silent(tiny, tmp_path, capsys, callbacks: list[Callback]):
    train(tiny(FOUR_STEPS), tmp_path / "run", callbacks=callbacks)
    assert capsys.readouterr() == ("", "")


def test_the_folder_may_be_a_path_or_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a", Path("b"), RunFolder("c")):
        train(tiny(FOUR_STEPS), folder, callbacks=())
    assert all(RunFolder(name).is_finished for name in "abc")
    for _ in range(2):
        train(tiny(FOUR_STEPS), callbacks=())
    assert len(list(Path("runs").glob("tiny-s0-*/result.json"))) == 2


def estimates(monkeypatch, capsys, tiny, seconds_per_step: float, **changes) -> list[str]:
    """The estimates printed during the first 500 steps of a run on 1,294 images of 8 pixels."""
    recipe = tiny({"training.duration": "1000 steps", "evaluation.test": False, **changes})
    plan = plan_batches(recipe, 1294)
    state, dataset = SimpleNamespace(step=0, epoch=0), SimpleNamespace(image_shape=(8, 8, 1))
    clock = SimpleNamespace(total=0.0)
    run = SimpleNamespace(recipe=recipe, plan=plan, state=state, dataset=dataset, clock=clock)
    run.freeze_schedule, run.validation = [], None
    display = Display()
    display._work = count_work(run)
    for step in range(500):
        now = 100 + step * seconds_per_step
        monkeypatch.setattr("cifarlab.training.display.time.monotonic", lambda now=now: now)
        state.step += 1
        display.on_step_end(run, plan.n_images(step))
    return [line for line in capsys.readouterr().out.splitlines() if "about" in line]


def test_the_remaining_time_is_estimated_once_after_some_seconds(monkeypatch, capsys, tiny):
    [line] = estimates(monkeypatch, capsys, tiny, 0.5)  # at step 7: 993 are left, some smaller
    assert line == "about 8.2 min to go"
    few = {"training.duration": "10 steps"}
    with pytest.raises(IndexError):  # there are no more steps
        estimates(monkeypatch, capsys, tiny, 0.5, **few)
    assert "about" not in capsys.readouterr().out  # not worth a word
    assert estimates(monkeypatch, capsys, tiny, 0.001) == []


def test_larger_images_later_on_take_longer(monkeypatch, capsys, tiny):
    sizes = [{"start": "0 steps", "pixels": 4}, {"start": "500 steps", "pixels": 8}]
    [line] = estimates(monkeypatch, capsys, tiny, 0.5, **{"augment.progressive_resize": sizes})
    assert line == "about 21 min to go"  # 493 small steps and 500 of four times that


def test_a_limit_of_time_ends_the_estimate(monkeypatch, capsys, tiny):
    limit = {"training.max_time": "2 min"}
    assert estimates(monkeypatch, capsys, tiny, 0.5, **limit) == ["about 2 min to go"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7, "7 s"), (89, "89 s"), (90, "1.5 min"), (3599, "60 min"), (7200, "2 h"), (1e6, "280 h")],
)
def test_a_time_in_words(seconds, words):
    assert format_duration(seconds) == words
