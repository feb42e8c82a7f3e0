"""Two processes train as one does: the same losses, the same end, the same errors."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spread import Losses, Told, torchrun

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
WAYS: dict[str, dict[str, Any]] = {
    "plain": LONG,
    "pieces": {
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
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a batch of one": ({"training.batch_size": 1}, "RecipeError"),
    "diverging": ({"optimizer.lr": 1e9, "optimizer.weight_decay": 0.5}, "DivergenceError"),
    "no data": ({"data.source": "nowhere"}, "DataError"),
    "wrong for the data": ({"augment.cutout": 12}, "RecipeError"),
    "taken": ({}, "RunFolderError"),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(
    tiny: Callable[..., Recipe], signal_after: Callable, place: Path
) -> dict[str, tuple[Told, Told]]:
    """What both processes tell of each job: one start of torchrun for all of them."""

    def job(changes: dict[str, Any], name: str) -> Told:
        return {
            "recipe": tiny({**GENTLE, **changes}).model_dump(mode="json"),
            "folder": str(place / name),
        }

    jobs = {name: job(changes, name) for name, changes in WAYS.items()}
    jobs |= {name: job(changes, name) for name, (changes, _) in REFUSED.items()}
    jobs["taken"]["folder"] = jobs["plain"]["folder"]
    jobs["out of time"] = job({"training.max_time": "0.2 s", "training.duration": "99 epochs"}, "t")
    begun = RunFolder(place / "begun by one")
    with pytest.raises(Interrupted):
        train(tiny({**GENTLE, **LONG}), begun, callbacks=[signal_after(17, signal.SIGINT)])
    jobs["begun by one"] = job(LONG, "begun by one") | {"resume": True}
    (place / "jobs").write_text(json.dumps(jobs))
    output = torchrun(Path(__file__).with_name("spread.py"), place / "jobs")
    _, errors = output.communicate(timeout=300)
    assert output.returncode == 0, errors
    outcomes = [json.loads((place / f"jobs.{rank}").read_text()) for rank in (0, 1)]
    return {name: (outcomes[0][name], outcomes[1][name]) for name in jobs}


@pytest.fixture(scope="module")
def one(tiny: Callable[..., Recipe], place: Path) -> Callable[[str], tuple[list[float], RunFolder]]:
    """A function: the losses and the folder of one process that trains in that way."""
    known: dict[str, tuple[list[float], RunFolder]] = {}

    def trained(name: str) -> tuple[list[float], RunFolder]:
        if name not in known:
            callback, folder = Losses(), RunFolder(place / f"{name} alone")
            train(tiny({**GENTLE, **WAYS[name]}), folder, callbacks=[callback])
            known[name] = callback.losses, folder
        return known[name]

    return trained


@pytest.mark.parametrize("name", WAYS)
def test_the_loss_curve_is_that_of_one_process(
    name: str, two: dict[str, tuple[Told, Told]], one: Callable
) -> None:
    first, second = two[name]
    assert first["losses"] == second["losses"]
    losses, _ = one(name)
    assert len(losses) == (50 if name == "plain" else 24)
    np.testing.assert_allclose(first["losses"], losses, rtol=1e-5)


@pytest.mark.parametrize("name", WAYS)
def test_the_end_is_that_of_one_process(
    name: str, two: dict[str, tuple[Told, Told]], one: Callable, place: Path
) -> None:
    _, alone = one(name)
    folder, result = RunFolder(place / name), two[name][0]["result"]
    assert two[name][1]["result"] == result == without_cost_of(folder)
    for mine, its in zip(folder.metrics.read(), alone.metrics.read(), strict=True):
        assert mine["val"]["loss"] == pytest.approx(its["val"]["loss"], rel=1e-4)
        assert mine["train"]["loss"] == pytest.approx(its["train"]["loss"], rel=1e-5)
    for split in ("val", "test"):
        file = f"{split}.safetensors"
        logits = [Predictions.read(f.predictions / file).logits for f in (folder, alone)]
        np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)


def without_cost_of(folder: RunFolder) -> Any:
    from cifarlab.run_folder.metrics_log import without_cost

    return without_cost(folder.result())


def test_two_processes_go_on_from_one(two: dict[str, tuple[Told, Told]], one: Callable) -> None:
    losses, alone = one("plain")
    assert len(two["begun by one"][0]["losses"]) == 50 - 17
    np.testing.assert_allclose(two["begun by one"][0]["losses"], losses[17:], rtol=1e-5)
    folder = RunFolder(alone.path.with_name("begun by one"))
    assert [start["processes"] for start in folder.provenance()["starts"]] == [1, 2]
    assert any("same processes" in note for note in folder.result()["notes"])


def test_only_the_first_touches_a_folder(two: dict[str, tuple[Told, Told]], place: Path) -> None:
    """Neither in training nor in resuming; so machines need not share a disk."""
    assert set(two) > set(WAYS)
    assert not (place / "not the first").exists()


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_refuses_all_refuse(name: str, two: dict[str, tuple[Told, Told]]) -> None:
    first, second = two[name]
    assert first == second
    kind, what = first["error"]
    assert kind == REFUSED[name][1]
    if name == "a batch of one":
        assert "2 processes: each needs one" in what


def test_one_clock_decides_when_the_budget_is_used_up(two: dict[str, tuple[Told, Told]]) -> None:
    first, second = two["out of time"]
    assert first == second
    assert first["result"]["stop_reason"] == "max_time"


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_the_parts_make_up_the_whole(count: int) -> None:
    for images in range(20):
        parts = [Processes(rank, count).shard(images) for rank in range(count)]
        assert [place for part in parts for place in range(images)[part]] == list(range(images))
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
        processes, "choose", lambda: type(on_gpu)(torch.device("cuda"), "bfloat16", None)
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
