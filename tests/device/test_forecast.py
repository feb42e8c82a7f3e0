"""How long a recipe takes: exact where a step's time is made up, on its data or without any."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mock_device import use_mock_device
from mock_tensor import Memory
from small_recipes import RUN

from cifarlab.data.batch_sizes import batch_sizes
from cifarlab.data.loader import Batch
from cifarlab.data.opening import open_data
from cifarlab.inference.predictor import Predictor
from cifarlab.recipes.catalog import find
from cifarlab.recipes.text import change
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system import machine_speed
from cifarlab.system.device import Compute
from cifarlab.system.errors import DataError
from cifarlab.training import display
from cifarlab.training import forecast as module
from cifarlab.training.forecast import forecast
from cifarlab.training.run import Run
from cifarlab.training.setup import prepare
from cifarlab.training.train import train
from cifarlab.training.workload import count_passes, find_kind

CPU = Compute(torch.device("cpu"), "float32")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that goes on by what a step or a prediction is said to take, by nothing else."""
    clock = SimpleNamespace(now=0.0, steps=[])

    def step(run: Run, batch: Batch) -> None:
        size = run.plan.image_size(run.state.step) or batch.images.shape[1]
        frozen = any(run.state.step >= start for start, _ in run.freeze_schedule)
        clock.now += len(batch.labels) * size**2 * (0.5 if frozen else 1) / 64e3
        clock.steps.append(run.state.step)

    def logits(_self: Predictor, images: np.ndarray) -> None:
        clock.now += len(images) / 4e3

    def measure(work: Callable, compute: Compute, least: float) -> float:
        before = clock.now
        work()
        return clock.now - before

    monkeypatch.setattr(module, "step", step)
    monkeypatch.setattr(Predictor, "logits", logits)
    monkeypatch.setattr(module, "measure_seconds", measure)
    return clock


def test_each_kind_of_step_counts_as_often_as_it_comes(
    tiny: Callable, clock: SimpleNamespace
) -> None:
    sizes = [{"start": "0 steps", "pixels": 6}, {"start": "11 steps", "pixels": 8}]
    recipe = tiny(
        {
            "training.freeze": [{"start": "22 steps", "stages": 1}],
            "augment.progressive_resize": sizes,
        }
    )
    result = forecast(recipe, 3.0)
    shown = 1294  # in each of three epochs
    expected = shown * (36 / 64e3 + 64 / 64e3 + 32 / 64e3)
    assert result.train_seconds == pytest.approx(expected)
    assert result.n_images == 3 * shown
    assert result.images_per_second == pytest.approx(64e3 / 36)
    # three epochs and the end on 144 images of validation, then once the test split's
    assert result.evaluate_seconds == pytest.approx((144 * 4 + 359) / 4e3, rel=0.01)
    assert set(clock.steps) == {0, 11, 22}


def test_a_limit_of_time_holds(tiny: Callable, clock: SimpleNamespace) -> None:
    assert forecast(tiny({"training.max_time": "2 s"}), 3.0).train_seconds == 2


def test_views_of_the_test_images_count(tiny: Callable, clock: SimpleNamespace) -> None:
    views = {"evaluation.tta_views": 6, "evaluation.test": False}
    plain, more = (
        forecast(tiny({"evaluation.test": False}), 1.0),
        forecast(tiny(views), 1.0),
    )
    assert more.evaluate_seconds / plain.evaluate_seconds == pytest.approx((3 + 6) / 4)


def test_data_that_were_never_read_are_made_up(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace, tmp_path: Path
) -> None:
    monkeypatch.setenv("CIFARLAB_CACHE", str(tmp_path))
    monkeypatch.delenv("CIFARLAB_DATA", raising=False)
    recipe = change(find("kth2024/baseline"), {"training.duration": "2 epochs"})
    shown = 2 * round(50_000 * (1 - recipe.data.val_fraction))
    assert forecast(recipe, 1.0).n_images == pytest.approx(shown, rel=0.001)
    assert [*tmp_path.iterdir()] == []
    with pytest.raises(DataError, match="no data source"):
        forecast(change(recipe, {"data.source": "nowhere"}), 1.0)


def test_really_timed_steps_are_near_those_of_a_run(tiny: Callable, tmp_path: Path) -> None:
    """In turns, since the machine may be busy for a while."""
    ratios = []
    for number in range(8):
        result = forecast(tiny(), 1.0)
        train(tiny(), RunFolder(tmp_path / str(number)), callbacks=[])
        cost = RunFolder(tmp_path / str(number)).result()["cost"]  # type: ignore[index]
        ratios.append(result.train_seconds / cost["train_seconds"])
        if 2 / 3 < ratios[-1] < 1.5:
            break
    assert 2 / 3 < ratios[-1] < 1.5, ratios


@pytest.mark.parametrize("name", [*RUN])
def test_on_a_gpu(name: str) -> None:
    with use_mock_device(memory=(memory := Memory(2**40))):
        result = forecast(RUN[name], 0.1)
    n_training = len(open_data(RUN[name].data).training)
    assert result.n_images == sum(batch_sizes(n_training, RUN[name].training.batch_size)[:2])
    # where all steps are of a kind, these are all
    if not RUN[name].augment.progressive_resize and not RUN[name].training.freeze:
        assert result.train_seconds == pytest.approx(result.n_images / result.images_per_second)
    assert 0 < result.peak_memory <= memory.peak  # type: ignore[operator]
    assert result.evaluate_seconds > 0


def test_the_memory_is_the_recipe_s_own(tiny: Callable, tmp_path: Path) -> None:
    large, small = tiny({"training.batch_size": 600}), tiny()
    peaks = []
    with use_mock_device(memory=Memory(2**40)):
        for recipe in (small, large, small):
            peaks.append(forecast(recipe, 0.1).peak_memory)
    assert peaks[0] == peaks[2] < 0.5 * peaks[1]  # type: ignore[operator]
    for number, recipe in enumerate((small, large)):
        with use_mock_device(memory=Memory(2**40)):
            result = train(recipe, RunFolder(tmp_path / str(number)), callbacks=[])
        assert result["cost"]["peak_memory_bytes"] == pytest.approx(peaks[number], rel=0.1)


def test_no_memory_is_named_that_other_work_of_the_process_took(tiny: Callable) -> None:
    assert forecast(tiny(), 0.1).peak_memory is None


def test_training_says_what_the_forecast_says(
    tiny: Callable, clock: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One estimate for both, where a pass always takes as long."""

    def take_passes(run: Run, batch: Batch) -> None:
        clock.now += len(batch.labels) * count_passes(run, find_kind(run, run.state.step)) / 1e2

    def logits(_self: Predictor, images: np.ndarray) -> None:
        clock.now += len(images) / 1e2

    monkeypatch.setattr(module, "step", take_passes)
    monkeypatch.setattr(Predictor, "logits", logits)
    sizes = [{"start": "0 steps", "pixels": 6}, {"start": "20 steps", "pixels": 8}]
    recipe = tiny(
        {
            "augment.progressive_resize": sizes,
            "training.selective_backprop": {"keep": 0.5, "start": "10 steps", "image_size": 5},
            "evaluation.tta_views": 6,
            "evaluation.tta_fraction": 0.5,
        }
    )
    expected = forecast(recipe, 1.0)

    estimates: list[float] = []
    monkeypatch.setattr(display, "format_duration", lambda seconds: estimates.append(seconds) or "")
    monkeypatch.setattr(display.time, "monotonic", lambda: clock.now)
    run, shown = prepare(recipe, RunFolder(tmp_path / "run")), display.Display()
    clock.now = 0.0
    shown.on_train_start(run)
    for _ in range(3):  # of about 1.5 s each
        n_images = run.plan.n_images(run.state.step)
        take_passes(run, next(run.loader.epoch(0)).select(slice(n_images)))
        run.state.step += 1
        shown.on_step_end(run, n_images)
    assert estimates == [pytest.approx(sum(expected[:2]) - clock.now)]
    shown.on_step_end(run, n_images)
    assert len(estimates) == 1


@pytest.mark.parametrize(("slow", "calls"), [(0.1, 1), (0.004, 4 + 2 + 1 + 1)])
def test_fast_operations_are_repeated(
    slow: float, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(machine_speed.time, "perf_counter", lambda: now[0])

    def work() -> None:
        now[0] += slow
        done.append(1)

    done: list[int] = []
    assert machine_speed.measure_seconds(work, CPU, 0.01) == pytest.approx(slow)
    assert len(done) == calls


def test_what_a_gpu_sets_up_first_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    now, seconds = [0.0], [1.0]

    def work() -> None:
        now[0] += seconds[0]
        seconds[0] = 0.02

    monkeypatch.setattr(machine_speed.time, "perf_counter", lambda: now[0])
    with use_mock_device(float64=False):
        compute = Compute(torch.device("mock", 0), "float32")
        assert machine_speed.measure_seconds(work, compute, 0.01) == pytest.approx(0.02)


def test_operations_and_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine_speed, "_SIZES", {"cpu": (16, 2), "gpu": (16, 2)})
    monkeypatch.setattr(machine_speed, "_CONVOLUTIONS", ((4, 8),))
    monkeypatch.setattr(machine_speed, "_OPERATION_TIME", 0.001)
    monkeypatch.setattr(machine_speed, "_FILE_SIZE", 2**21)
    names = []
    with use_mock_device(float64=False):
        for compute in (CPU, Compute(torch.device("mock", 0), "float32")):
            speeds = dict(machine_speed.measure_operations(compute))
            assert all(gflops for pair in speeds.values() for gflops in pair.values())
            names.append([*speeds])
    assert names[0] == names[1] and len(names[0]) == 4
    disk = machine_speed.measure_disk(tmp_path)
    assert min(disk.values()) > 0 and {"write", "flush"} <= disk.keys()
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_what_a_device_lacks_is_left_out(error: type) -> None:
    def build(_options: dict) -> Callable:
        raise error("no such type")

    assert machine_speed._gflops(1.0, build, "bfloat16", CPU) is None
