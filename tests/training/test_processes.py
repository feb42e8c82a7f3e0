"""Two processes train as one does: the same losses, the same end, the same errors."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchrun_jobs import Losses, Report, torchrun

from cifarlab.recipes.schema import Recipe
from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.predictions import Predictions
from cifarlab.system.device import choose_compute
from cifarlab.system.errors import CifarlabError, Interrupted, UserError
from cifarlab.system.processes import SINGLE_PROCESS, Processes, init_distributed
from cifarlab.training.train import train

# Small rates and no kinks, so that rounding stays small. The 118 images of a batch are 59 and 59,
# an epoch's last 117 are 59 and 58; batch normalisation, crops, flips, dropout are in all of them.
GENTLE = {
    "optimizer.lr": 0.02,
    "training.batch_size": 127,
    "training.duration": "24 steps",
    "model.activation": "gelu",
}
LONG = {"training.duration": "50 steps"}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": LONG,
    "micro-batches": {
        "training.micro_batch_size": 30,
        "model.dropout": 0.3,
        "averaging": {"kind": "ema", "decay": 0.9, "every": 1},
        "training.clip_grad_norm": 1.0,
        "augment.policy": {"kind": "randaugment", "magnitude": 3},
        "augment.gaussian_noise.sigma": 0.02,
        "evaluation.checkpoint": "best",
    },
    "mixed": {
        "augment.mix": {"kind": "cutmix", "prob": 0.7},
        "training.micro_batch_size": 50,
        "loss.label_smoothing": 0.1,
        # not with a bias before a normalisation: its gradient is rounding, which Adam makes large
        "optimizer": {"kind": "adamw", "lr": 1e-3},
        "data.label_noise": {"kind": "symmetric", "noise_rate": 0.2},
        "averaging": {"kind": "swa", "start": "12 steps", "every": "5 steps"},
    },
    "selected": {
        "training.selective_backprop": {"keep": 0.5, "start": "4 steps", "image_size": 6},
        "training.freeze": [{"start": "15 steps", "stages": 1}],
        "training.agc": 0.05,
    },
    "vectors": {
        "seed": 1,  # a pool's maximum is a kink: here rounding moves none
        "model": {
            "kind": "cnn",
            "channels": [4, 6],
            "hidden_features": 16,
            "dropout": [0.1, 0.1, 0.2],
            "block": ["conv", "norm", "act", "pool", "dropout"],
            "linear_order": ["linear", "norm", "act", "dropout"],
            "norm": {"kind": "batch"},
        },
        "augment.mix": {"kind": "mixup"},
        "schedule": {"kind": "plateau", "patience": 1},
        "training.early_stopping": {"patience": 9},
    },
    "muon": {
        "model": {"kind": "airbench", "channels": [6, 8]},
        "augment.hflip": "alternating",
        "optimizer": {"kind": "muon", "lr": 0.01},
        "averaging": {"kind": "lookahead", "every": 4},
    },
}
REFUSALS: dict[str, tuple[dict[str, Any], str]] = {
    "a batch of one": ({"training.batch_size": 1}, "RecipeError"),
    "diverging": ({"optimizer.lr": 1e9, "optimizer.weight_decay": 0.5}, "DivergenceError"),
    "no data": ({"data.source": "nowhere"}, "DataError"),
    "wrong for the data": ({"augment.cutout": 12}, "RecipeError"),
    "taken": ({}, "RunFolderError"),
}


@pytest.fixture(scope="module")
def folder_of_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def reports(
    tiny: Callable[..., Recipe], signal_after: Callable, folder_of_runs: Path
) -> dict[str, tuple[Report, Report]]:
    """The reports of both processes on each job: torchrun is started once for all of them."""

    def job(changes: dict[str, Any], name: str) -> Report:
        return {
            "recipe": tiny({**GENTLE, **changes}).model_dump(mode="json"),
            "folder": str(folder_of_runs / name),
        }

    jobs = {name: job(changes, name) for name, changes in SETTINGS.items()}
    jobs |= {name: job(changes, name) for name, (changes, _) in REFUSALS.items()}
    jobs["taken"]["folder"] = jobs["plain"]["folder"]
    jobs["out of time"] = job({"training.max_time": "0.2 s", "training.duration": "99 epochs"}, "t")
    begun = RunFolder(folder_of_runs / "begun by one")
    with pytest.raises(Interrupted):
        train(tiny({**GENTLE, **LONG}), begun, callbacks=[signal_after(17, signal.SIGINT)])
    jobs["begun by one"] = job(LONG, "begun by one") | {"resume": True}
    (folder_of_runs / "jobs").write_text(json.dumps(jobs))
    output = torchrun(Path(__file__).with_name("torchrun_jobs.py"), folder_of_runs / "jobs")
    _, errors = output.communicate(timeout=300)
    assert output.returncode == 0, errors
    outcomes = [json.loads((folder_of_runs / f"jobs.{rank}").read_text()) for rank in (0, 1)]
    return {name: (outcomes[0][name], outcomes[1][name]) for name in jobs}


@pytest.fixture(scope="module")
def train_alone(
    tiny: Callable[..., Recipe], folder_of_runs: Path
) -> Callable[[str], tuple[list[float], RunFolder]]:
    """A function: the losses and the folder of one process that trains in that way."""
    runs: dict[str, tuple[list[float], RunFolder]] = {}

    def train_once(name: str) -> tuple[list[float], RunFolder]:
        if name not in runs:
            callback, folder = Losses(), RunFolder(folder_of_runs / f"{name} alone")
            train(tiny({**GENTLE, **SETTINGS[name]}), folder, callbacks=[callback])
            runs[name] = callback.losses, folder
        return runs[name]

    return train_once


@pytest.mark.parametrize("name", SETTINGS)
def test_the_loss_curve_is_that_of_one_process(
    name: str, reports: dict[str, tuple[Report, Report]], train_alone: Callable
) -> None:
    first, second = reports[name]
    assert second["losses"] == []  # callbacks are called in the main process alone
    losses, _ = train_alone(name)
    assert len(losses) == (50 if name == "plain" else 24)
    np.testing.assert_allclose(first["losses"], losses, rtol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_the_end_is_that_of_one_process(
    name: str,
    reports: dict[str, tuple[Report, Report]],
    train_alone: Callable,
    folder_of_runs: Path,
) -> None:
    _, alone = train_alone(name)
    folder, result = RunFolder(folder_of_runs / name), reports[name][0]["result"]
    assert reports[name][1]["result"] == result == result_without_cost(folder)
    for line, reference in zip(folder.metrics.read(), alone.metrics.read(), strict=True):
        assert line["val"]["loss"] == pytest.approx(reference["val"]["loss"], rel=1e-4)
        assert line["train"]["loss"] == pytest.approx(reference["train"]["loss"], rel=1e-5)
    for split in ("val", "test"):
        file = f"{split}.safetensors"
        logits = [Predictions.read(f.predictions / file).logits for f in (folder, alone)]
        np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)


def result_without_cost(folder: RunFolder) -> Any:
    from cifarlab.run_folder.metrics_log import without_cost

    return without_cost(folder.result())


def test_two_processes_go_on_from_one(
    reports: dict[str, tuple[Report, Report]], train_alone: Callable
) -> None:
    losses, alone = train_alone("plain")
    assert len(reports["begun by one"][0]["losses"]) == 50 - 17
    np.testing.assert_allclose(reports["begun by one"][0]["losses"], losses[17:], rtol=1e-5)
    folder = RunFolder(alone.path.with_name("begun by one"))
    assert [start["processes"] for start in folder.provenance()["starts"]] == [1, 2]
    assert any("same processes" in note for note in folder.result()["notes"])


def test_only_the_first_touches_a_folder(
    reports: dict[str, tuple[Report, Report]], folder_of_runs: Path
) -> None:
    """Neither in training nor in resuming; so machines need not share a disk."""
    assert set(reports) > set(SETTINGS)
    assert not (folder_of_runs / "not the first").exists()


@pytest.mark.parametrize("name", REFUSALS)
def test_what_one_refuses_all_refuse(name: str, reports: dict[str, tuple[Report, Report]]) -> None:
    first, second = reports[name]
    assert first["error"] == second["error"]
    kind, what = first["error"]
    assert kind == REFUSALS[name][1]
    if name == "a batch of one":
        assert "2 processes: each needs one" in what


def test_one_clock_decides_when_the_budget_is_used_up(
    reports: dict[str, tuple[Report, Report]],
) -> None:
    first, second = reports["out of time"]
    assert first["result"] == second["result"]
    assert first["result"]["stop_reason"] == "max_time"


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_shards_make_up_the_batch(count: int) -> None:
    for images in range(20):
        parts = [Processes(rank, count).shard(images) for rank in range(count)]
        assert [index for part in parts for index in range(images)[part]] == list(range(images))
        sizes = [part.stop - part.start for part in parts]
        assert max(sizes) - min(sizes) <= 1


def test_without_torchrun_there_is_one_process() -> None:
    with init_distributed() as processes:
        assert processes == SINGLE_PROCESS
    assert SINGLE_PROCESS.all_reduce_max(3, 4) == [3, 4]


def started_by_torchrun(patch: pytest.MonkeyPatch, local: int = 2) -> None:
    names = {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": local}
    for name, value in {**names, "TORCHELASTIC_RUN_ID": "test"}.items():
        patch.setenv(name, str(value))


def test_compilation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    started_by_torchrun(monkeypatch)
    monkeypatch.setenv("CIFARLAB_COMPILE", "default")
    with pytest.raises(UserError, match="not compiled"), init_distributed():
        pass


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from cifarlab.system import processes

    started_by_torchrun(monkeypatch, local=4)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    on_gpu = choose_compute()
    monkeypatch.setattr(
        processes, "choose_compute", lambda: type(on_gpu)(torch.device("cuda"), "bfloat16", None)
    )
    with pytest.raises(UserError, match="4 processes for the 3 GPUs"), init_distributed():
        pass


def test_an_error_of_the_first_alone_is_everybody_s() -> None:
    """In one process nothing is in between."""

    def fail() -> None:
        raise CifarlabError("what", "hint")

    for way in (SINGLE_PROCESS.broadcast_from_rank0, SINGLE_PROCESS.run_in_all):
        with pytest.raises(CifarlabError, match="what"):
            way(fail)
        assert way(lambda: 3) == 3
