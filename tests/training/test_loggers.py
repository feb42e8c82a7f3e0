"""Loggers: what each tool's own reader finds, after a kill too; whatever fails ends nothing."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import pytest
from logger_readers import Logged, read_mlflow, read_tensorboard, read_trackio, read_wandb
from PIL import Image

from cifarlab.recipes.text import fingerprint
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.errors import Interrupted
from cifarlab.system.signals import StopRequest
from cifarlab.training.callback import Callback
from cifarlab.training.callbacks import (
    CallbackConfig,
    MLflowConfig,
    TensorBoardConfig,
    TrackioConfig,
    WandbConfig,
)
from cifarlab.training.loggers.base import Logger, draw_figures
from cifarlab.training.train import train

LOGGERS = ("tensorboard", "mlflow", "wandb", "trackio")
HOSTS: list[Any] = []  # what this process connected to, or looked up, while it logged


@pytest.fixture(autouse=True)
def _private_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away what a user may have set, and what switches usage statistics off under tests."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "MLFLOW_TRACKING_URI",
        "WANDB_PROJECT",
        "WANDB_MODE",
        "PYTEST_CURRENT_TEST",
        "CI",
        "DO_NOT_TRACK",
    ):
        monkeypatch.delenv(name, raising=False)


def configs(folder: Path, name: str = "tests") -> dict[str, CallbackConfig]:
    """All loggers by kind, each with a store of its own under a folder."""
    return {
        "tensorboard": TensorBoardConfig(),
        "mlflow": MLflowConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment=name),
        "wandb": WandbConfig(project=name),
        "trackio": TrackioConfig(project=name),
    }


class FailAt(Logger):
    """A logger that fails in one method, and keeps its calls."""

    kind = "json"  # a package that is there

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where, self.calls = where, list[Any]()

    def _note(self, name: str, *values: Any) -> None:
        self.calls.append((name, *values))
        if name == self.where:
            raise OSError(28, "No space left on device\nsecond line")

    def open(self) -> int:
        self._note("open")
        return 0

    def log_epoch(self, epoch: int, values: dict[str, float]) -> None:
        self._note("log_epoch", epoch)

    def log_result(self, epoch: int, values: dict[str, float]) -> None:
        self._note("log_result", epoch)

    def log_figures(self, figures: Any) -> None:
        self._note("log_figures", len(figures))

    def close(self, end: str) -> None:
        self._note("close", end)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of MLflow's server, which keeps artifacts by itself: clients have HTTP alone."""
    folder = tmp_path_factory.mktemp("server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        ) as process,
    ):
        try:
            _wait_until_it_answers(f"http://127.0.0.1:{port}/health", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGTERM)  # its workers, too


def _wait_until_it_answers(url: str, process: Any, seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            urlopen(url, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.2)


@pytest.fixture(scope="module")
def logged(
    tiny: Callable, signal_after: Callable, server: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, dict[str, Logged], list[Any], str]:
    """A run that all tools logged, interrupted in its third epoch; what they have; hosts; output.

    The first start's loggers break after the first epoch, so that the second has to catch up.
    """
    path = tmp_path_factory.mktemp("logged")
    folder, kinds = RunFolder(path / "study" / "runs" / "first"), configs(path)
    kinds["mlflow"] = MLflowConfig(tracking_uri=server, experiment="tests")
    folder.path.parent.mkdir(parents=True)
    (path / "study" / "study.json").write_text("{}")
    sys.addaudithook(_note_hosts)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTEST_CURRENT_TEST", "CI", "WANDB_MODE"):
            patch.delenv(name, raising=False)
        patch.chdir(path)
        loggers = [config.build() for config in kinds.values()]
        with pytest.raises(Interrupted):
            train(tiny(), folder, callbacks=[*loggers, BreakAfter(1, loggers), signal_after(25)])
        loggers = [config.build() for config in kinds.values()]
        with redirect_stdout(StringIO()) as output, redirect_stderr(output):
            train(tiny(), folder, resume=True, callbacks=loggers)
    readers = (
        read_tensorboard(folder.path),
        read_mlflow(server, "tests"),
        read_wandb(folder.path),
        read_trackio("tests"),
    )
    hosts = [host for host in HOSTS if host not in ("127.0.0.1", urlsplit(server)[1])]
    return folder, dict(zip(LOGGERS, readers, strict=True)), hosts, output.getvalue()


class BreakAfter(Callback):
    """Breaks loggers after an epoch."""

    def __init__(self, epoch: int, loggers: list[Any]) -> None:
        self.epoch, self.loggers = epoch, loggers

    def on_epoch_end(self, run: Any, line: dict[str, Any]) -> None:
        if line["epoch"] == self.epoch:
            for logger in self.loggers:
                logger.log_epoch = None


def _note_hosts(event: str, args: tuple[Any, ...]) -> None:
    if event == "socket.connect" and isinstance(args[1], tuple):
        HOSTS.append(f"{args[1][0]}:{args[1][1]}")
    if event == "socket.getaddrinfo":
        HOSTS.append(args[0])


@pytest.mark.parametrize("kind", LOGGERS)
def test_each_epoch_is_logged_once(kind: str, logged: Any) -> None:
    folder, tools, *_ = logged
    lines = folder.metrics.read()
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for name, get in {
        "lr": lambda line: line["lr"],
        "train/loss": lambda line: line["train"]["loss"],
        "val/accuracy": lambda line: line["val"]["accuracy"],
        "cost/train_seconds": lambda line: line["cost"]["train_seconds"],
    }.items():
        expected = [(line["epoch"], pytest.approx(get(line))) for line in lines]
        assert tools[kind].epochs[name] == expected


@pytest.mark.parametrize("kind", LOGGERS)
def test_recipe_result_figures_and_folder_are_logged(kind: str, logged: Any) -> None:
    folder, tools, *_ = logged
    recipe, result, run = folder.recipe(), folder.result(), tools[kind]
    assert str(run.settings["optimizer.lr"]) == str(recipe.optimizer.lr)
    assert run.settings["fingerprint"] == fingerprint(recipe)
    assert run.settings["training.duration"] == "3 epochs"
    for split in ("val", "test"):
        low, high = result[split]["interval"]
        assert run.result[f"result/{split}/accuracy"] == pytest.approx(result[split]["accuracy"])
        assert run.result[f"result/{split}/accuracy_low"] == pytest.approx(low)
        assert run.result[f"result/{split}/accuracy_high"] == pytest.approx(high)
    drawn = draw_figures(folder.path.resolve(), folder.result_file.stat().st_mtime_ns)
    assert {"curves", "confusion", "classes"} <= set(run.figures)
    assert set(run.figures) == {figure.kind for figure in drawn}
    sizes = {figure.kind: Image.open(BytesIO(figure.png)).size for figure in drawn}
    assert {k: Image.open(BytesIO(f)).size for k, f in run.figures.items()} == sizes
    assert run.folder == str(folder.path.resolve())
    assert run.group == ("" if kind == "tensorboard" else "study")


def test_logging_decides_nothing_and_reaches_no_host_but_the_named_server(
    logged: Any, finished: RunFolder, end_of: Callable
) -> None:
    assert end_of(logged[0]) == end_of(finished)
    assert logged[2] == []


def test_no_tool_prints_between_the_lines_of_progress(logged: Any) -> None:
    assert logged[3] == ""


def test_usage_statistics_are_off(logged: Any) -> None:
    import psutil
    from mlflow.telemetry import get_telemetry_client

    assert get_telemetry_client() is None
    commands = [child.cmdline() for child in psutil.Process().children(recursive=True)]
    services = [words for words in commands if "wandb-core" in words[0]]
    assert services and all("--no-observability" in words for words in services)
    assert not {"MLFLOW_DISABLE_TELEMETRY", "WANDB_ERROR_REPORTING"} & set(os.environ)


@pytest.fixture
def session(finished: RunFolder, tmp_path: Path) -> Any:
    """What a logger needs of a run that goes on after its last epoch."""
    shutil.copytree(finished.path, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    state, stop = SimpleNamespace(epoch=3), StopRequest()
    return SimpleNamespace(recipe=folder.recipe(), folder=folder, state=state, stop=stop)


def call_all(logger: Logger, session: Any) -> None:
    """Call a logger as a run does that is at its end."""
    logger.on_train_start(session)
    logger.on_epoch_end(session, session.folder.metrics.read()[-1])
    logger.on_train_end(session, session.folder.result())
    logger.teardown(session)


@pytest.mark.parametrize("where", ["open", "log_epoch", "log_result", "log_figures", "close"])
def test_a_failure_is_printed_once_and_ends_nothing(
    where: str, session: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = FailAt(where)
    call_all(logger, session)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"note: json logs no more of {session.folder.path}: OSError: [Errno 28")
    names = [name for name, *_ in logger.calls]
    assert names.count(where) == 1
    assert names[-1] == "close"
    assert set(names[names.index(where) + 1 :]) <= {"close"}


def test_a_logger_that_works_is_closed_as_finished(session: Any) -> None:
    logger = FailAt("nowhere")
    call_all(logger, session)
    epochs = [("log_epoch", 1), ("log_epoch", 2), ("log_epoch", 3), ("log_epoch", 3)]
    assert logger.calls[:6] == [("open",), *epochs, ("log_result", 3)]
    assert logger.calls[-1] == ("close", "finished")


@pytest.mark.parametrize(
    ("reason", "end"),
    [("signal", "interrupted"), ("abandoned", "interrupted"), ("planned", "failed")],
)
def test_a_logger_knows_how_a_run_ended(reason: Any, end: str, session: Any) -> None:
    logger = FailAt("nowhere")
    logger.on_train_start(session)
    session.stop.ask(reason)
    logger.teardown(session)
    assert logger.calls[-1] == ("close", end)


def test_a_package_that_is_missing_at_a_start_ends_nothing(
    session: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(FailAt, "kind", "absent")
    logger = FailAt("nowhere")
    call_all(logger, session)
    (line,) = capsys.readouterr().out.splitlines()
    assert "the callback absent needs absent, which is not installed" in line
    assert logger.calls == [("close", "failed")]


def test_mlflow_without_a_server_keeps_a_database_here_and_prints_nothing(session: Any) -> None:
    """In a process of its own: MLflow reads how much it prints when it is imported."""
    done = subprocess.run([sys.executable, "-c", _LOG_TO_DATABASE], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert Path("mlflow.db").is_file()


_LOG_TO_DATABASE = """
import os
from pathlib import Path
from types import SimpleNamespace
from cifarlab.run_folder.folder import RunFolder
from cifarlab.system.signals import StopRequest
from cifarlab.training.callbacks import MLflowConfig

os.environ["MLFLOW_EXPERIMENT_NAME"] = "digits"
folder, state, stop = RunFolder(Path("run")), SimpleNamespace(epoch=3), StopRequest()
run = SimpleNamespace(recipe=folder.recipe(), folder=folder, state=state, stop=stop)
logger = MLflowConfig().build()
logger.on_train_start(run)
stop.ask("signal")
logger.teardown(run)

from mlflow import MlflowClient

(experiment,) = MlflowClient().search_experiments(filter_string="name = 'digits'")
(logged,) = MlflowClient().search_runs([experiment.experiment_id])
assert logged.info.status == "KILLED"
logger = MLflowConfig().build()
logger.on_train_start(run)
logger.on_train_end(run, folder.result())
logger.teardown(run)
assert MlflowClient().get_run(logged.info.run_id).info.status == "FINISHED"
assert len(MlflowClient().list_artifacts(logged.info.run_id, "figures")) > 3
"""


def test_wandb_takes_the_project_that_its_variable_names(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    call_all(WandbConfig().build(), session)
    assert read_wandb(session.folder.path).project == "digits"


def test_no_server_is_noticed_in_seconds(
    logged: Any, session: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    call_all(MLflowConfig(tracking_uri="http://127.0.0.1:9").build(), session)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("note: mlflow logs no more of")
    assert "127.0.0.1:9" in HOSTS
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in os.environ


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_folder_that_cant_be_written_is_noticed(
    kind: str, session: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    (session.folder.path / kind).write_text("a file is in the way")
    call_all(configs(session.folder.path.parent)[kind].build(), session)
    out = capfd.readouterr().out
    assert out.count(f"note: {kind} logs no more of") == 1


def test_damaged_ids_are_noticed(session: Any, capsys: pytest.CaptureFixture[str]) -> None:
    session.folder.logged_file.write_text(json.dumps({"ids": {"trackio": "../../x"}}))
    call_all(configs(session.folder.path.parent)["trackio"].build(), session)
    (line,) = capsys.readouterr().out.splitlines()
    assert "logged.json" in line


def test_a_run_that_went_back_to_its_best_epoch_is_logged_as_another(session: Any) -> None:
    kind, config = "trackio", TrackioConfig(project="back")
    logger = config.build()
    logger.on_train_start(session)
    first = session.folder.logged_ids()[kind]
    resumed = config.build()
    resumed.on_train_start(session)
    assert session.folder.logged_ids()[kind] == first
    session.state.epoch = 1
    lines = session.folder.metrics.path.read_text().splitlines(keepends=True)
    session.folder.metrics.path.write_text(lines[0])
    back = config.build()
    back.on_train_start(session)
    assert session.folder.logged_ids()[kind] != first
    assert back.open() == 1
