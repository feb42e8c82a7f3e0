"""What goes wrong is told in two lines on standard error; exit 2 for a user's mistake, 1 else."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Command, Output

from cifarlab.run_folder.folder import RunFolder
from cifarlab.run_folder.metrics_log import without_cost
from cifarlab.system.errors import StorageError


def require_two_lines(output: Output, code: int, *messages: str) -> None:
    assert output.code == code, output
    lines = output.err.splitlines()
    assert len(lines) == 2, output.err
    assert lines[0].startswith("error: " if code == 2 else "failed: ")
    assert lines[1].startswith("  ") and lines[1].strip()
    assert "Traceback" not in output.err
    for text in messages:
        assert text in output.err


DURATION = "write training.duration='3 epochs'"


@pytest.mark.parametrize(
    ("words", "messages"),
    [
        (["train", "quickstat"], ["'quickstat'", "did you mean 'quickstart'?"]),
        (["train", "no.yaml"], ["no.yaml"]),
        (["train", "quickstart", "optimizer.l=1"], ["optimizer.l", "lr"]),
        (["train", "quickstart", "optimizer.lr=-1"], ["optimizer.lr can't be -1"]),
        (["train", "quickstart", "optimizer.lr=quick"], ["optimizer.lr", "'quick'"]),
        (["train", "quickstart", "model.kind=resnt"], ["did you mean 'resnet'?"]),
        (["train", "quickstart", "training.duration=30"], ["has no unit"]),
        (["train", "quickstart", "seed"], ["no key=value"]),
        (["train", "quickstart", "seed=1", "seed=2"], ["given twice"]),
        (["train", "quickstart", "seed=[1"], ["as YAML"]),
        (["train", "quickstart", "--data", "digits", "data.source=cifar10"], ["given twice"]),
        (["train", "quickstart", "--data", "no/where"], ["no/where"]),
        (["train", "quickstart", "--data", "no\nwhere"], ["where"]),
        (["train", "quickstart", "--resume"], ["no unfinished run"]),
        (["train", "quickstart", "--extend", "1 epoch", "--schedule", "hold"], ["no finished run"]),
        (["train", "quickstart", "--run", "nowhere", "--resume"], ["no run folder"]),
        (["train", "quickstart", "training.epochs=3"], ["write training.duration='3 epochs'"]),
        (["train", "quickstart", "--epochs", "3"], ["no such option: --epochs", DURATION]),
        (["train", "quickstart", "--epochs=3", "--resume"], [DURATION]),
        (["train", "--max-epochs", "3", "quickstart"], [DURATION]),
        (["train", "quickstart", "--lr", "0.1", "seed=1"], ["write optimizer.lr=0.1"]),
        (["train", "quickstart", "--batch-size", "64"], ["write training.batch_size=64"]),
        (["train", "quickstart", "-bs", "64"], ["write training.batch_size=64"]),
        (["train", "quickstart", "--seed", "3"], ["write seed=3"]),
        (["train", "quickstart", "--optimizer.lr", "3"], ["write optimizer.lr=3"]),
        (["train", "quickstart", "--amp", "seed=1"], ["write training.precision=bfloat16"]),
        (["train", "quickstart", "--dropout"], ["write model.dropout=..."]),
        (["train", "quickstart", "--workers", "4"], ["no loader workers"]),
        (["audit", "quickstart", "--lr", "0.1"], ["write optimizer.lr=0.1"]),
        (["recipes", "lint", "quickstart", "--lr", "0.1"], ["write optimizer.lr=0.1"]),
        (["recipes", "draw", "quickstart", "--width", "8"], ["write model.channels=8"]),
        (["evaluate", "nowhere"], ["no run folder"]),
        (["report", "nowhere"], ["nowhere"]),
        (["study", "quickstat"], ["'quickstat'", "did you mean 'quickstart'?"]),
        (["study", "no.yaml"], ["no.yaml"]),
        (["study", "quickstart", "--only", "x"], ["no row", "adamw"]),
        (["study", "quickstart", "--scale", "2"], ["scale of 2"]),
        (["compare", "quickstat"], ["did you mean 'quickstart'?"]),
        (["compare", "quickstart"], ["no finished run of quickstart"]),
        (["recipes", "lint", "quickstat"], ["did you mean 'quickstart'?"]),
        (["recipes", "show", "quickstat"], ["did you mean 'quickstart'?"]),
    ],
    ids=lambda value: " ".join(value) if len(value) > 1 else None,
)
def test_a_mistake_is_two_lines(cifarlab: Command, words: list[str], messages: list[str]) -> None:
    output = cifarlab(*words)
    require_two_lines(output, 2, *messages)
    assert output.out == ""
    assert not [path for path in Path.cwd().rglob("*") if path.is_file()]  # nothing was begun


def test_torchrun_is_for_training_alone(cifarlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "test")
    monkeypatch.setenv("LOCAL_RANK", "0")
    require_two_lines(cifarlab("study", "quickstart"), 2, "several times at once")
    monkeypatch.setenv("LOCAL_RANK", "1")  # the first has said it
    output = cifarlab("study", "quickstart")
    assert (output.code, output.out, output.err) == (2, "", "")


@pytest.mark.parametrize(
    ("options", "messages"),
    [(["--split", "train"], "val or test"), (["--tta-views", "3"], "1, 2, 6")],
)
def test_a_split_or_views_that_do_not_exist(
    cifarlab: Command, finished: RunFolder, options: list[str], messages: str
) -> None:
    require_two_lines(cifarlab("evaluate", finished.path, *options), 2, messages)


def test_the_closed_test_split(cifarlab: Command, copied: RunFolder) -> None:
    copied.result_file.unlink()
    output = cifarlab("evaluate", copied.path, "--split", "test")
    require_two_lines(output, 2, "has not finished")


def test_a_folder_that_holds_a_run(cifarlab: Command, copied: RunFolder) -> None:
    output = cifarlab("train", "quickstart", "--run", copied.path)
    require_two_lines(output, 2, "holds a run already", "--resume", "--run")


def test_a_folder_in_use(cifarlab: Command, copied: RunFolder) -> None:
    copied.result_file.unlink()
    with copied.lock():  # another lock on the same file, as another process would have it
        output = cifarlab("train", "tiny", "--run", copied.path, "--resume")
    require_two_lines(output, 2, "in use by another process")


def test_a_damaged_checkpoint(cifarlab: Command, copied: RunFolder) -> None:
    copied.weights("last").write_bytes(b"no weights")
    messages = "is not the file that the run's result was measured on", "cifarlab train"
    require_two_lines(cifarlab("evaluate", copied.path), 2, *messages)
    copied.result_file.unlink()
    require_two_lines(cifarlab("evaluate", copied.path), 2, "damaged or no checkpoint")


@pytest.mark.parametrize("name", ["result.json", "provenance.json", "recipe.yaml"])
@pytest.mark.parametrize("content", [b"\xff\xfe", b"[1, 2]", b"{"])
def test_damaged_small_files(
    cifarlab: Command, copied: RunFolder, name: str, content: bytes
) -> None:
    (copied.path / name).write_bytes(content)
    output = cifarlab("evaluate", copied.path, "--split", "val")
    if name != "recipe.yaml" and not output.code:  # validation need not look at each of them
        assert "accuracy" in output.out
    else:
        require_two_lines(output, 2, name)


@pytest.mark.parametrize("where", ["file/run", "/proc/run"])
def test_a_disk_that_refuses_is_a_fault(cifarlab: Command, where: str) -> None:
    Path("file").write_text("in the way")
    output = cifarlab("train", "quickstart", "--run", where)
    require_two_lines(output, 1, "can't write")


def test_a_diverged_run_is_a_fault(cifarlab: Command) -> None:
    settings = ["optimizer.lr=1e30", "schedule.kind=constant", "training.duration=1 epoch"]
    output = cifarlab("train", "quickstart", *settings, "--run", "run")
    require_two_lines(output, 1, "NaN or infinite at step", "lower optimizer.lr")


def test_a_device_that_is_not_there(cifarlab: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CIFARLAB_DEVICE", "abacus")
    require_two_lines(cifarlab("train", "quickstart", "--run", "run"), 2, "CIFARLAB_DEVICE=abacus")
    require_two_lines(cifarlab("check"), 2, "CIFARLAB_DEVICE=abacus")


def test_usage_errors_exit_2(cifarlab: Command) -> None:
    wrong: list[Callable[[], Output]] = [
        lambda: cifarlab("trian"),
        lambda: cifarlab("train"),
        lambda: cifarlab("train", "quickstart", "--sed", "1"),
        lambda: cifarlab("evaluate", "run", "--tta-views", "two"),
    ]
    assert [run().code for run in wrong] == [2] * 4


def test_the_exit_code_of_the_process(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "cifarlab", "recipes", "show", "quickstat"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    require_two_lines(Output(process.returncode, process.stdout, process.stderr), 2, "quickstart")


def full_disk(*_: object) -> None:
    raise StorageError("can't write figures: No space left on device", "free some space")


def ctrl_c(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("end", "code"), [(full_disk, 1), (ctrl_c, 130)])
def test_ended_while_the_report_is_drawn(
    cifarlab: Command,
    copied: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[..., None],
    code: int,
) -> None:
    """The advice was --resume, which was refused: the run has finished."""
    result = copied.result()
    copied.result_file.unlink()
    with monkeypatch.context() as patch:
        patch.setattr("cifarlab.plots.style.save", end)
        output = cifarlab("train", "tiny", "--run", copied.path, "--resume")
    assert output.code == code and output.err.count("\n") == 2
    assert f"the run is complete; its report: cifarlab report {copied.path}" in output.err
    assert copied.result()["test"] == result["test"] and not copied.has_report
    changed = copied.weights("last").stat().st_mtime_ns
    resumed = cifarlab("train", "tiny", "--run", copied.path, "--resume")
    assert resumed.code == 0, resumed.err
    assert f"report: {copied.report}" in resumed.out and copied.has_report
    assert copied.weights("last").stat().st_mtime_ns == changed
    require_two_lines(cifarlab("train", "tiny", "--run", copied.path, "--resume"), 2, "finished")


@pytest.mark.parametrize("file", ["val.safetensors", "test.safetensors", "result.json"])
def test_a_full_disk_between_the_last_checkpoint_and_the_result(
    cifarlab: Command, copied: RunFolder, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    result = copied.result()
    copied.result_file.unlink()
    with monkeypatch.context() as patch:
        real = Path.replace

        def replace(self: Path, target: Path) -> Path:
            if Path(target).name == file:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(self, target)

        patch.setattr(Path, "replace", replace)
        output = cifarlab("train", "tiny", "--run", copied.path, "--resume")
    require_two_lines(output, 1, f"{file}: No space left", "--resume")
    assert not copied.is_finished
    assert cifarlab("train", "tiny", "--run", copied.path, "--resume").code == 0
    assert without_cost(copied.result()) == without_cost(result) and copied.has_report
