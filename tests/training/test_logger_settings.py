"""Loggers by name: settings on the command line and in Python; a missing package is refused."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import cifarlab as lab
from cifarlab.cli import app
from cifarlab.experiments.study.definition import Study, StudyRow
from cifarlab.system.errors import MissingExtraError, RecipeError
from cifarlab.training.callbacks import MLflowConfig, TrackioConfig, WandbConfig, name_callbacks
from cifarlab.training.loggers import base
from cifarlab.training.loggers.mlflow import MLflowLogger

ROWS = (StudyRow(name="a", recipe="quickstart"),)


@pytest.mark.parametrize("kind", ["tensorboard", "mlflow", "wandb", "trackio"])
def test_a_missing_package_is_refused_before_anything_starts(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (config,) = name_callbacks([kind], ()).callbacks
    monkeypatch.setitem(sys.modules, kind, None)
    result = CliRunner().invoke(app, ["train", "quickstart", "--callback", kind, "--run", "run"])
    assert isinstance(result.exception, MissingExtraError)
    study = Study(name="s", rows=ROWS, callbacks=(config,))
    for refused in (lambda: lab.train("quickstart", callbacks=[kind]), study.only_callbacks):
        with pytest.raises(MissingExtraError) as caught:
            refused()
        assert caught.value.what == f"the callback {kind} needs {kind}, which is not installed"
        assert caught.value.hint == f"pip install 'cifarlab[{kind}]'"
    assert not any(tmp_path.iterdir())


def test_a_kind_is_given_with_its_settings() -> None:
    uri = "http://127.0.0.1:5000"
    kinds = [f"mlflow:experiment=digits,tracking_uri={uri}", "wandb:project='7'", "trackio"]
    mlflow, wandb, trackio = name_callbacks(kinds, ()).callbacks
    assert mlflow == MLflowConfig(tracking_uri=uri, experiment="digits")
    assert (wandb, trackio) == (WandbConfig(project="7"), TrackioConfig())


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("mlflow:digits", "'digits' is no key=value", "its settings: tracking_uri, experiment"),
        ("mlflow:project=digits", "callback mlflow: ", "tracking_uri"),
        ("trackio:project=7", "callback trackio: project", ""),
        ("tensorboard:project=digits", "callback tensorboard: ", ""),
        ("mlflow:experiment=a,experiment=b", "experiment is given twice", ""),
    ],
)
def test_settings_of_a_kind_are_refused_in_two_lines(text: str, what: str, hint: str) -> None:
    with pytest.raises(RecipeError) as caught:
        name_callbacks([text], ())
    assert what in caught.value.what and hint in caught.value.hint


def test_a_server_that_does_not_answer_is_not_waited_for_by_each_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    starts: list[str] = []

    def fail(logger: MLflowLogger, run: Any) -> None:
        starts.append(logger._uri)
        raise OSError("no answer")

    def start(uri: str) -> None:
        run: Any = SimpleNamespace(folder=SimpleNamespace(path="runs/a"))
        MLflowConfig(tracking_uri=uri).build().on_train_start(run)

    monkeypatch.setattr(MLflowLogger, "_start", fail)
    monkeypatch.setattr(base, "_failed_servers", {})
    for uri in ("http://a", "http://a", "http://b", "sqlite:///c.db", "sqlite:///c.db"):
        start(uri)
    assert starts == ["http://a", "http://b", "sqlite:///c.db", "sqlite:///c.db"]
    lines = capsys.readouterr().out.splitlines()
    minutes = "runs/a and of runs that start in the next 10 minutes: OSError"
    assert len(lines) == 4 and [minutes in line for line in lines] == [True, True, False, False]
    monkeypatch.setattr(base, "_RETRY_SECONDS", 0)
    start("http://a")
    assert starts[-1] == "http://a"
