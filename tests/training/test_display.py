"""What ``train`` prints of itself, and where it trains, when it is called from Python."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from cifarlab.augment.pipeline import pixels_at
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.terminal import format_duration
from cifarlab.training.callback import Callback
from cifarlab.training.display import Display
from cifarlab.training.tensor_stats import TensorStats
from cifarlab.training.train import train

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


def run_at(step: int, steps: int = 1000, sizes: tuple[tuple[int, int], ...] = ()):
    return SimpleNamespace(
        state=SimpleNamespace(step=step, epoch=0),
        plan=SimpleNamespace(steps=steps, epochs=range(3), image_size=partial(pixels_at, sizes)),
        dataset=SimpleNamespace(image_shape=(32, 32, 3)),
    )


def estimates(monkeypatch, capsys, seconds_per_step: float, **run) -> list[str]:
    """The estimates printed during a run's first 500 steps."""
    display = Display()
    for step in range(1, 501):
        now = 100 + (step - 1) * seconds_per_step
        monkeypatch.setattr("cifarlab.training.display.time.monotonic", lambda now=now: now)
        display.on_step_end(run_at(step, **run), 64)
    return [line for line in capsys.readouterr().out.splitlines() if "about" in line]


def test_the_remaining_time_is_estimated_once_after_some_seconds(monkeypatch, capsys):
    [line] = estimates(monkeypatch, capsys, 0.5)  # at step 7: 993 are left
    assert line == "about 8.3 min of training to go"
    assert estimates(monkeypatch, capsys, 0.5, steps=10) == []  # not worth a word
    assert estimates(monkeypatch, capsys, 0.001) == []


def test_larger_images_later_on_take_longer(monkeypatch, capsys):
    [line] = estimates(monkeypatch, capsys, 0.5, sizes=((0, 16), (500, 32)))
    assert line == "about 21 min of training to go"  # 493 small steps and 500 of four times that


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(7, "7 s"), (89, "89 s"), (90, "1.5 min"), (3599, "60 min"), (7200, "2 h"), (1e6, "280 h")],
)
def test_a_time_in_words(seconds, words):
    assert format_duration(seconds) == words
