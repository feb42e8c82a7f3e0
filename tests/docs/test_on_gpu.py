"""benchmarks/on_gpu.py: rehearsed from end to end on the processor, and cut off at any moment."""

import importlib
import json
import os
import runpy
import shlex
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import redirect_stdout
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
RESULTS = {  # of each script, the start of its file's name
    "speedrun.py": "speedrun-",
    "throughput.py": "throughput-",
    "evaluate.py": "evaluate_",
    "augmentation.py": "augmentation_",
    "gpu_agreement.py": "gpu-agreement_",
    "recording.py": "recording_",
    "promises.py": "promises_",
}
SLEEPER = "import sys, time; time.sleep(float(sys.argv[1])); sys.exit(int(sys.argv[2]))"


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("CIFARLAB_DEVICE", "cpu")  # the script sets another, which ends with a test
    return importlib.import_module("on_gpu")


def call(on_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--rehearse", *map(str, words)])
    on_gpu.main()


def read_outcomes(out: Path) -> dict[str, str]:
    progress = json.loads((out / "progress.json").read_text(encoding="utf-8"))
    return {name: entry["outcome"] for name, entry in progress["measurements"].items()}


def run_here(command: list[str], environment: dict[str, str], output: Any, _seconds: float) -> int:
    """Run a script in this process, which has everything imported."""
    words = command[2:]  # without "python -u"
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output):
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr(sys.modules["_results"], "RESULTS", Path(environment["BENCHMARK_RESULTS"]))
        patch.setattr(sys, "argv", words[1:] if words[0] == "-m" else words)
        try:
            if words[0] == "-m":
                runpy.run_module(words[1], run_name="__main__", alter_sys=False)
            else:
                runpy.run_path(words[0], run_name="__main__")
        except SystemExit as end:
            return int(end.code or 0)
    return 0


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An archive of class folders, of 60 images."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for number in range(60):
            file = BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(file, "PNG")
            archive.writestr(f"photos/{number % 10}/{number}.png", file.getvalue())
    return tmp_path / "photos.zip"


def test_all_is_measured_in_small_on_the_processor(
    on_gpu: ModuleType, docs: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module("_results")
    for name, value in {"_SIZES": {"cpu": (16, 2)}, "_OPERATION_TIME": 0.001}.items():
        monkeypatch.setattr(f"cifarlab.system.machine_speed.{name}", value)
    monkeypatch.setattr("cifarlab.cli.machine._NETWORKS", ())
    monkeypatch.setattr("cifarlab.cli.machine._FORECAST_TIME", 0.1)
    monkeypatch.setattr(on_gpu, "run_command", run_here)
    # TORCH_COMPILE_DISABLE is read once in a process
    monkeypatch.setattr(torch, "compile", lambda network, **_: network)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    call(on_gpu, monkeypatch, "--out", out, "--data", photos)
    listed = on_gpu.measurements(on_gpu.parse_options())
    texts = {m.name: (out / m.name / "output.txt").read_text(encoding="utf-8") for m in listed}
    assert read_outcomes(out) == dict.fromkeys(texts, "done"), texts
    for measurement in listed:
        if start := RESULTS.get(measurement.script):
            (file,) = (out / measurement.name).glob("*.json")
            assert file.name.startswith(start)
            assert json.loads(file.read_text(encoding="utf-8"))["device"] in ("cpu", "cpu here")
    assert "GFLOP/s" in texts["machine"] and "quickstart" in texts["machine"]
    assert {m.script for m in listed} == set(on_gpu.SMALL)


def fake_measurements(on_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, *rows: tuple) -> None:
    class Fake(on_gpu.Measurement):
        def command(self, _options: Any) -> list[str]:
            return [sys.executable, "-c", SLEEPER, *self.options]

    made = [Fake(name, seconds, "", options) for name, seconds, options in rows]
    monkeypatch.setattr(on_gpu, "measurements", lambda _options: made)


def test_what_is_cut_off_or_failed_is_measured_by_the_next_call(
    on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = ("first", 1, ("0", "0"))
    fake_measurements(
        on_gpu, monkeypatch, first, ("fails", 1, ("0", "3")), ("long", 1, ("60", "0"))
    )
    call(on_gpu, monkeypatch, "--out", out, "--minutes", 2.5 / 60)
    assert read_outcomes(out) == {"first": "done", "fails": "failed with 3", "long": "cut off"}
    fake_measurements(
        on_gpu,
        monkeypatch,
        ("first", 1, ("0", "4")),
        ("fails", 1, ("0", "0")),
        ("long", 1, ("0", "0")),
    )
    call(on_gpu, monkeypatch, "--out", out)
    assert read_outcomes(out) == {"first": "done", "fails": "done", "long": "done"}


KILLED = """
import sys
sys.path.insert(0, {folder!r})
import on_gpu
class Fake(on_gpu.Measurement):
    def command(self, _options):
        return [sys.executable, "-c", "import time; time.sleep({seconds})"]
on_gpu.measurements = lambda _options: [Fake(f"number {{n}}", 1, "") for n in range(40)]
on_gpu.main()
"""


def count_done(out: Path) -> int:
    """How many measurements stand in the file, which is whole at any moment."""
    outcomes = read_outcomes(out) if (out / "progress.json").exists() else {}
    assert set(outcomes.values()) <= {"done"}
    return len(outcomes)


def test_it_goes_on_after_a_kill(
    on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGKILL at moments that nobody chose; each measurement stands there once, and is whole."""
    out = tmp_path / "out"
    script = KILLED.format(folder=str(BENCHMARKS), seconds=0.01)
    command = [sys.executable, "-c", script, "--rehearse", "--out", str(out)]
    begun = 0
    for moment in (0.05, 0.2, 0.11):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        while count_done(out) == begun and process.poll() is None:
            time.sleep(0.01)
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        begun = count_done(out)
    assert 3 <= begun < 40
    fake_measurements(on_gpu, monkeypatch, *((f"number {n}", 1, ("0", "0")) for n in range(40)))
    ran: list[list[str]] = []
    monkeypatch.setattr(on_gpu, "run_command", lambda command, *_: ran.append(command) or 0)
    call(on_gpu, monkeypatch, "--out", out)
    assert len(ran) == 40 - begun
    assert [*read_outcomes(out)] == [f"number {n}" for n in range(40)]


@pytest.mark.parametrize(
    ("name", "value"), [("machine", "another GPU"), ("torch", "1.0"), ("commit", "abc+")]
)
def test_results_of_something_else_are_not_gone_on_with(
    name: str, value: str, on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_measurements(on_gpu, monkeypatch, ("first", 1, ("0", "0")))
    call(on_gpu, monkeypatch, "--out", tmp_path)
    call(on_gpu, monkeypatch, "--out", tmp_path)
    identity = on_gpu.identify() | {name: value}
    monkeypatch.setattr(on_gpu, "identify", lambda: identity)
    with pytest.raises(on_gpu.UserError, match=f"results of another {name}: "):
        call(on_gpu, monkeypatch, "--out", tmp_path)


def test_nothing_is_begun_that_does_not_fit(
    on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(on_gpu, "fastest_device", lambda: "cuda")
    monkeypatch.setattr(on_gpu, "device_name", lambda _: "a GPU")
    fake_measurements(on_gpu, monkeypatch, ("long", 90, ("0", "0")), ("short", 1, ("0", "0")))
    monkeypatch.setattr(sys, "argv", ["on_gpu.py", "--out", str(tmp_path), "--minutes", "1"])
    on_gpu.main()
    assert read_outcomes(tmp_path) == {"short": "done"}
    assert "long left out: no time" in capsys.readouterr().out


def test_the_first_half_hour_has_what_matters(on_gpu: ModuleType) -> None:
    options = SimpleNamespace(rehearse=False, peer=["a=b c"], device="cuda", data="x", minutes=30.0)
    listed = on_gpu.measurements(options)
    assert len({m.name for m in listed}) == len(listed)
    seconds, in_time = 0.0, []
    for measurement in listed:
        seconds += measurement.seconds
        in_time += [measurement.name] if seconds <= 1800 else []
    assert {"agreement", "speed-94", "speed-94-graphs", "loop-512", "evaluation"} < {*in_time}
    words = shlex.join(listed[2].command(options))
    assert "--peer 'a=b c'" in words and words.endswith("--data x training.micro_batch_size=null")


def test_every_benchmark_can_be_imported_and_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    modules = [importlib.import_module(file.stem) for file in BENCHMARKS.glob("*.py")]
    scripts = [module for module in modules if not module.__name__.startswith("_")]
    assert scripts and all(callable(module.main) for module in scripts)


def test_what_is_no_number_agrees_with_nothing(
    on_gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreement = importlib.import_module("gpu_agreement")
    equal = {"loss": 0.0, "logits": 0.0, "maps": 0.0, "waits": []}
    assert not agreement.misses_bar(equal)
    for what, bar in agreement.BARS.items():
        assert agreement.misses_bar(equal | {what: float("nan")})
        assert agreement.misses_bar(equal | {what: 1.01 * bar})
    assert agreement.misses_bar(equal | {"waits": ["loop.py:1"]})
    zeros, ones = np.zeros(2), np.ones(2)
    assert agreement.difference({"a": ones, "b": ones}, {"a": 2 * ones, "b": ones}) == 0.5
    assert np.isnan(agreement.difference({"a": ones, "b": ones * np.nan}, {"a": ones, "b": ones}))
    assert np.isnan(agreement.difference({"a": ones * np.nan, "b": zeros}, {"a": ones, "b": zeros}))
    monkeypatch.setattr(sys.modules["_results"], "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["gpu_agreement.py", "x", "--device", "cpu"])
    for row, code in ((equal, 0), (equal | {"maps": float("nan")}, 1)):
        monkeypatch.setattr(agreement, "compare", lambda *_, row=row: row)
        assert agreement.main() == code


def test_agreement_is_measured_of_every_layer(
    on_gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one device, once it is changed: the difference shows."""
    agreement = importlib.import_module("gpu_agreement")
    row = agreement.compare("quickstart", "digits", "cpu")
    assert row == {"loss": 0.0, "logits": 0.0, "maps": 0.0, "waits": []}
    real, layers = agreement.class_activation_maps, []

    def shift_first_layer(*args: Any, **options: Any) -> Any:
        maps = real(*args, **options)
        layers.append([*maps])
        first = layers[0][0]
        return maps | {first: maps[first] + len(layers)}

    monkeypatch.setattr(agreement, "class_activation_maps", shift_first_layer)
    assert agreement.misses_bar(agreement.compare("quickstart", "digits", "cpu"))
    assert len(layers[0]) > 2
